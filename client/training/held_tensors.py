"""Tensors that a site holds for a run, so that they are not sent again: named by digest, verified on use.

They are the released models of earlier stages, and the global groups that the site received last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load

from common.errors import ReleaseError
from common.files import write_whole
from common.logs import logger
from common.parameters import StateDict
from common.release import file_digest
from common.wire.digest import tensor_bytes

log = logger(__name__)

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class HeldTensors:
    """The folder `<workdir>/state/<run>/held`."""

    folder: Path

    def digests(self) -> tuple[str, ...]:
        """Return what is here, sorted."""
        return tuple(sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"[0-9a-f]*{SUFFIX}")))

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Return which of `digests` are not here whole, in their order; what was changed is removed."""
        return tuple(digest for digest in digests if not self._is_whole(digest))

    def keep(self, tensors: StateDict, digest: str) -> None:
        """Write tensors. Raises ReleaseError where they are not those of `digest`."""
        blob = tensor_bytes(tensors)
        if hashlib.sha256(blob).hexdigest() != digest:
            raise ReleaseError(f"the tensors that came do not have the digest {digest[:12]}… that was announced")
        write_whole(self._path(digest), blob)

    def tensors(self, digest: str) -> StateDict:
        """Return the tensors of `digest`. Raises ReleaseError where the file is missing or was changed."""
        path = self._path(digest)
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise ReleaseError(
                f"{path}: cannot be read ({error.strerror}); it is sent again when the round is"
            ) from None
        if hashlib.sha256(blob).hexdigest() != digest:
            path.unlink()
            raise ReleaseError(f"{path}: was changed; it has been removed and is sent again when the round is")
        return load(blob)

    def forget_but(self, digests: Iterable[str]) -> None:
        """Remove all other tensors: a site holds one state of the stage that is trained, and the models before it."""
        for digest in set(self.digests()) - set(digests):
            self._path(digest).unlink(missing_ok=True)

    def _is_whole(self, digest: str) -> bool:
        path = self._path(digest)
        try:
            if file_digest(path) == digest:
                return True
            log.warning("%s: was changed; it is removed and sent again", path)
            path.unlink()
        except OSError:
            pass
        return False

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}{SUFFIX}"
