"""`release.sig`: the consortium's signature over a release's digest, and so over every byte of the release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import ReleaseError
from common.files import write_whole
from common.release import Release

if TYPE_CHECKING:
    from common.identity.signing import SigningKey, VerifyKey

SIGNATURE = "release.sig"
MAX_SIGNATURE_BYTES = 1024


def sign_release(release: Release, key: SigningKey) -> None:
    """Write `release.sig` into the release's folder."""
    from common.identity.signing import Purpose

    signature = key.sign(Purpose.RELEASE, release.digest.encode())
    write_whole(release.path / SIGNATURE, f"{signature}\n".encode())


def is_signed(folder: Path) -> bool:
    """Return whether the release in `folder` carries a signature, whosever it is."""
    return (folder / SIGNATURE).exists()


def verify_signature(release: Release, pinned: VerifyKey) -> None:
    """Return if the release is signed by the pinned key.

    Raises:
        ReleaseError: where it carries no signature, or none that can be read.
        SignatureError: where the signature is another key's, or another release's.
    """
    from common.identity.signing import Purpose

    path = release.path / SIGNATURE
    try:
        if path.stat().st_size > MAX_SIGNATURE_BYTES:
            raise ValueError
        signature = path.read_bytes().decode("ascii").strip()
    except FileNotFoundError:
        raise ReleaseError(
            f"{release.path}: is not signed; ask the coordinator for the release as `gliofed-server promote` wrote it"
        ) from None
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); fetch the release again") from None
    except ValueError:
        raise ReleaseError(f"{path}: is no signature; fetch the release again") from None
    pinned.verify(Purpose.RELEASE, release.digest.encode(), signature)
