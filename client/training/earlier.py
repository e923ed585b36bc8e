"""The released models of earlier stages, as a site keeps them for one run: named by digest, verified on use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load, save

from common.errors import ReleaseError
from common.files import write_whole
from common.parameters import StateDict
from common.settings.stages import Stage


@dataclass(frozen=True)
class EarlierModels:
    """The folder `<workdir>/state/<run>/earlier`."""

    folder: Path

    def missing(self, digests: Mapping[Stage, str]) -> tuple[Stage, ...]:
        """Return the stages whose released tensors are not here yet, in order."""
        return tuple(stage for stage in Stage if stage in digests and not self._path(stage, digests[stage]).is_file())

    def keep(self, stage: Stage, tensors: StateDict, digest: str) -> None:
        """Write a stage's tensors. Raises ReleaseError where they are not those of `digest`."""
        blob = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        if hashlib.sha256(blob).hexdigest() != digest:
            raise ReleaseError(
                f"the {stage} tensors that came do not have the digest {digest[:12]}… that was announced"
            )
        write_whole(self._path(stage, digest), blob)

    def tensors(self, stage: Stage, digest: str) -> StateDict:
        """Return a stage's tensors. Raises ReleaseError where the file is missing or was changed."""
        path = self._path(stage, digest)
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

    def _path(self, stage: Stage, digest: str) -> Path:
        return self.folder / f"{stage.value}-{digest[:16]}.safetensors"
