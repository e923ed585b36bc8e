"""The bundle holds the installed code, is the same for the same code, and worth nothing when a byte of it changed."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from flwr.common.config import get_fab_config, get_fused_config_from_fab
from flwr.supercore.fab import Fab
from flwr.supernode.start_client_internal import _verify_fab
from hypothesis import given
from hypothesis import strategies as st

from common.errors import GliofedError, StudyError
from common.identity.bundle_signature import SIGNER, sign_bundle, trusted_entities, verify_bundle
from common.identity.signing import SignatureError, SigningKey
from common.identity.site_key import create_site_key, load_site_key
from common.sources import bundled_digests, installed_digests, installed_sources
from common.study import code_version
from server.hosting.bundle import CARD, FILE, build_bundle, read_bundle, read_card, unset_run_config, write_bundle
from server.hosting.submit import planned_run_config

KEY, OTHER = SigningKey.generate(), SigningKey.generate()


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return build_bundle()


@pytest.fixture
def folder(tmp_path: Path, bundle: bytes) -> Path:
    write_bundle(tmp_path, KEY, bundle)
    return tmp_path


def as_flower_has_it(folder: Path, bundle: bytes, signer: str = SIGNER, **changed: object) -> Fab:
    """Return the bundle with its signature as the SuperLink hands it to a SuperNode."""
    card = read_card(folder)
    signed = {"signature": card.signature, "signed_at": card.signed_at} | changed
    return Fab(card.sha256, bundle, {"valid_license": "Valid", signer: json.dumps(signed)})


def test_it_holds_the_installed_code_and_nothing_else(bundle: bytes) -> None:
    assert bundled_digests(bundle) == installed_digests()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert {name for name in archive.namelist() if not name.endswith(".py")} == {"pyproject.toml", ".info/CONTENT"}


def test_the_same_code_gives_the_same_bytes(bundle: bytes) -> None:
    assert build_bundle() == bundle


def test_flower_reads_it_and_finds_every_key_of_a_run_configuration(bundle: bytes) -> None:
    config = get_fab_config(bundle)
    assert (config["project"]["name"], config["tool"]["flwr"]["app"]["publisher"]) == ("gliofed", "gliofed")

    class Run:
        override_config = planned_run_config("first")

    fused = get_fused_config_from_fab(bundle, Run())
    assert fused == planned_run_config("first") | {"resume": False}
    assert set(fused) == set(unset_run_config())


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", "a b", "-a", "x" * 64, "a\n", "runs/../../etc"])
def test_a_run_whose_name_would_lead_out_of_its_folder_has_no_configuration(name: str) -> None:
    with pytest.raises(StudyError, match="no name of a run"):
        planned_run_config(name)


def test_what_was_signed_is_read_back(folder: Path, bundle: bytes) -> None:
    card, content = read_bundle(folder, KEY.public)
    assert (content, card.code_version) == (bundle, code_version())


def test_a_changed_byte_another_signer_and_a_moved_time_are_refused(folder: Path, bundle: bytes) -> None:
    with pytest.raises(SignatureError, match="not signed by the key"):
        read_bundle(folder, OTHER.public)
    tampered = bundle.replace(b"GlioFed", b"GlioFad", 1)
    (folder / FILE).write_bytes(tampered)
    with pytest.raises(StudyError, match="changed since it was signed"):
        read_bundle(folder, KEY.public)
    card = json.loads((folder / CARD).read_text())
    (folder / FILE).write_bytes(bundle)
    (folder / CARD).write_text(json.dumps(card | {"signed_at": card["signed_at"] + 1}))
    with pytest.raises(SignatureError):
        read_bundle(folder, KEY.public)


def test_flowers_own_check_takes_the_signed_bundle_and_no_other(folder: Path, bundle: bytes) -> None:
    trusted = json.loads(trusted_entities(KEY.public))
    tampered = bundle.replace(b"GlioFed", b"GlioFad", 1)
    assert _verify_fab(as_flower_has_it(folder, bundle), trusted)
    assert not _verify_fab(as_flower_has_it(folder, tampered), trusted)
    assert not _verify_fab(as_flower_has_it(folder, bundle, signed_at=1), trusted)
    assert not _verify_fab(as_flower_has_it(folder, bundle, signer="somebody"), trusted)
    assert not _verify_fab(as_flower_has_it(folder, bundle), json.loads(trusted_entities(OTHER.public)))
    assert not _verify_fab(Fab("", bundle, {"valid_license": "Valid"}), trusted)


def test_a_sites_key_neither_signs_bundles_nor_is_trusted_for_them(tmp_path: Path) -> None:
    create_site_key(tmp_path / "site.key")
    key = load_site_key(tmp_path / "site.key")
    with pytest.raises(StudyError, match="Ed25519"):
        sign_bundle(key, "0" * 64, 1)
    with pytest.raises(StudyError, match="Ed25519"):
        trusted_entities(key.public)
    with pytest.raises(SignatureError):
        verify_bundle(key.public, "0" * 64, 1, "AAAA")


def test_a_card_that_was_written_by_hand_is_refused_with_what_is_wrong(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"version": "1.0; rm", "more": 1}))
    with pytest.raises(StudyError, match=r"wrong in .*version.*more"):
        read_card(folder)
    (folder / CARD).unlink()
    with pytest.raises(StudyError, match="gliofed-server bundle"):
        read_card(folder)


# ---- foreign bytes


def packed(files: dict[str, bytes], twice: str = "") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        if twice:
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(twice, b"")
    return content.getvalue()


def test_a_bundle_of_one_changed_file_one_more_or_one_less_holds_other_code() -> None:
    own = dict(installed_sources())
    assert bundled_digests(packed(own)) == installed_digests()
    assert bundled_digests(packed(own | {"client/app.py": b"#"})) != installed_digests()
    assert bundled_digests(packed(own | {"client/../../evil.py": b""})) != installed_digests()
    assert bundled_digests(packed({path: text for path, text in own.items() if path != "client/app.py"})) != (
        installed_digests()
    )


def test_a_bundle_that_unpacks_to_much_or_names_a_file_twice_is_refused() -> None:
    with pytest.raises(StudyError, match="unpacks to more"):
        bundled_digests(packed({"bomb.py": bytes(2**21)}))
    with pytest.raises(StudyError, match="twice"):
        bundled_digests(packed({"a.py": b"1"}, twice="a.py"))
    with pytest.raises(StudyError, match="too many"):
        bundled_digests(packed({f"{number}.py": b"" for number in range(5001)}))
    with pytest.raises(StudyError, match="more than Flower's limit"):
        bundled_digests(bytes(10 * 2**20 + 1))


@given(st.binary(max_size=400))
def test_no_bytes_make_the_reader_of_bundles_fail_otherwise(blob: bytes) -> None:
    with contextlib.suppress(GliofedError):
        bundled_digests(blob)


@given(st.integers(0, 399), st.integers(0, 255))
def test_no_changed_byte_of_a_bundle_makes_its_reader_fail_otherwise(place: int, value: int) -> None:
    whole = bytearray(packed({"a.py": b"print(1)" * 9, "b.py": b"", "c.txt": b"x"}))
    whole[place % len(whole)] = value
    with contextlib.suppress(GliofedError):
        bundled_digests(bytes(whole))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_of_cards_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, blob: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / CARD).write_bytes(blob)
    with pytest.raises(GliofedError):
        read_card(folder)
