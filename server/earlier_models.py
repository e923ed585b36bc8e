"""The released models that a task builds on or an assessment is about, for the sites that lack them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from flwr.app import ArrayRecord
from safetensors.torch import load_file

from common.records import EARLIER, pack_tensors
from common.settings.stages import Stage


class EarlierModels:
    """Stage → file and digest; each is read and packed once, when the first site lacks it."""

    def __init__(self, weights: Mapping[Stage, tuple[Path, str]]) -> None:
        self._weights = weights
        self._packed: dict[Stage, ArrayRecord] = {}

    @property
    def digests(self) -> dict[Stage, str]:
        """The digest of each model."""
        return {stage: digest for stage, (_, digest) in self._weights.items()}

    def lacking(self, holds: Collection[str]) -> dict[str, ArrayRecord]:
        """Return the models that a site does not hold; sites share the records, not copies of them."""
        stages = [stage for stage, digest in self.digests.items() if digest not in holds]
        for stage in stages:
            if stage not in self._packed:
                self._packed[stage] = pack_tensors(load_file(self._weights[stage][0]))
        return {EARLIER + stage.value: self._packed[stage] for stage in stages}
