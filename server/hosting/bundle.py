"""The bundle of our code: built from what is installed, signed, and read back only where it is as it was signed."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from common import __version__
from common.errors import StudyError
from common.files import read_at_most, write_whole
from common.identity.bundle_signature import sign_bundle, verify_bundle
from common.identity.signing import SigningKey, VerifyKey
from common.settings.frozen import Frozen
from common.sources import MAX_BUNDLE_BYTES, installed_sources
from common.study import code_version
from server.config import RunConfig

FILE, CARD = "gliofed.fab", "bundle.json"
PUBLISHER = APP = "gliofed"
SERVER_APP = "server.app:app"
MAX_CARD_BYTES = 4096
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in a bundle: the first that the format knows."""


class BundleCard(Frozen):
    """What is known of a bundle.

    Attributes:
        code_version: of the code in it, as a study's digest counts it.
        version: under which Flower is asked for it.
        sha256: of the bundle.
        signed_at: seconds since 1970.
        signature: over digest and time, as a SuperNode verifies it.
    """

    schema_version: Literal[1] = 1
    code_version: Annotated[str, StringConstraints(max_length=64)]
    version: Annotated[str, StringConstraints(pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    signed_at: Annotated[int, Field(ge=0, lt=2**40)]
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]{1,128}$")]


def build_bundle(sources: Mapping[str, bytes] | None = None) -> bytes:
    """Return the bundle of the installed code, in Flower's format; the same code gives the same bytes.

    Its project file is written here, not copied, so that an installed wheel builds what a checkout builds.

    Args:
        sources: other sources than the installed ones, for tests.
    """
    import tomli_w

    app = {"components": {"serverapp": SERVER_APP, "clientapp": "client.app:app"}, "config": unset_run_config()}
    project = {
        "project": {"name": APP, "version": __version__, "description": "GlioFed", "license": "Apache-2.0"},
        "tool": {"flwr": {"app": {"publisher": PUBLISHER, **app}}},
    }
    files = {"pyproject.toml": tomli_w.dumps(project).encode(), **(sources or installed_sources())}
    manifest = [f"{path},{hashlib.sha256(content).hexdigest()},{8 * len(content)}" for path, content in files.items()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:  # not compressed: no version of zlib has a say in the digest
        for path, content in {**files, ".info/CONTENT": "\n".join(manifest).encode()}.items():
            archive.writestr(zipfile.ZipInfo(path, EPOCH), content)
    return packed.getvalue()


def unset_run_config() -> dict[str, str | bool]:
    """Return every key of a run configuration with the value that stands for none."""
    return {name: field.default if not field.is_required() else "" for name, field in RunConfig.model_fields.items()}


def write_bundle(folder: Path, key: SigningKey, bundle: bytes | None = None) -> BundleCard:
    """Sign a bundle, that of the installed code where none is given, and write both into `folder`."""
    content = build_bundle() if bundle is None else bundle
    sha256, now = hashlib.sha256(content).hexdigest(), int(time.time())
    card = BundleCard(
        code_version=code_version(),
        version=__version__,
        sha256=sha256,
        signed_at=now,
        signature=sign_bundle(key, sha256, now),
    )
    write_whole(folder / FILE, content)
    write_whole(folder / CARD, card.model_dump_json(indent=2).encode() + b"\n")
    return card


def read_card(folder: Path) -> BundleCard:
    """Read what is known of the bundle in `folder`. Raises StudyError where there is none."""
    if not (folder / CARD).is_file():
        raise StudyError(f"{folder}: holds no bundle; make one with `gliofed-server bundle`")
    try:
        return BundleCard.model_validate_json(read_at_most(folder / CARD, MAX_CARD_BYTES), strict=True)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, item["loc"])) or "JSON" for item in error.errors())
        raise StudyError(f"{folder / CARD}: wrong in {wrong}; make it anew with `gliofed-server bundle`") from None


def read_bundle(folder: Path, pinned: VerifyKey) -> tuple[BundleCard, bytes]:
    """Read a bundle that is as it was signed.

    Raises:
        StudyError: where it is missing or its bytes are others.
        SignatureError: where the consortium's key has not signed it.
    """
    card, bundle = read_card(folder), read_at_most(folder / FILE, MAX_BUNDLE_BYTES)
    if hashlib.sha256(bundle).hexdigest() != card.sha256:
        raise StudyError(f"{folder / FILE}: was changed since it was signed; make it anew with `gliofed-server bundle`")
    verify_bundle(pinned, card.sha256, card.signed_at, card.signature)
    return card, bundle
