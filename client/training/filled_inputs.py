"""Inputs of the later stages: real slices, and what the frozen generator draws in the place of missing ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from client.data.cache import CachedCase, LabelKind, open_case
from client.data.dataset import CaseStore, SliceBatch
from client.inference.device import device_of
from client.inference.fill import Translator, pick_domain, pick_source
from client.precision import current_precision, half_precision
from client.training.fill_memo import SHARED_MEMO, FillKey, FillMemo
from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence

CONDITION = (Sequence.T1, Sequence.FLAIR)
"""What the synthesiser and the identifier see of a patient without gadolinium."""

CONTRAST_FREE = tuple(sequence for sequence in STRUCTURAL if sequence not in NEEDS_GADOLINIUM)
ET = 4


class Filler:
    """The frozen generator with the sites whose style its fills take: the site's own, else the reference centre's."""

    def __init__(self, generator: Translator, site: str, reference_site: str, memo: FillMemo = SHARED_MEMO) -> None:
        self.generator, self.site, self.reference_site, self.memo = generator, site, reference_site, memo
        self.digest = f"{weights_digest(generator)}.{current_precision()}"
        self.device = device_of(generator)

    def fill(
        self, store: CaseStore, batch: SliceBatch, present: Mapping[Sequence, Tensor], wanted: tuple[Sequence, ...]
    ) -> SliceBatch:
        """Return the batch with each of its `wanted` sequences real or filled.

        Args:
            store: the store that the batch was taken from.
            batch: slices as the store gave them, not augmented.
            present: per sequence (B,) bool: what may be seen, as input and as source of fills.
            wanted: sequences, each a key of `present`.
        Returns:
            `wanted` images -1 outside the brain where filled, and everywhere where there was nothing to fill from.
        """
        images = {
            sequence: torch.where(present[sequence][:, None, None, None], batch.images[sequence], -1.0)
            for sequence in wanted
        }
        places: list[tuple[int, Sequence]] = []
        keys: list[FillKey] = []
        for row, (index, number) in enumerate(zip(batch.case_index.tolist(), batch.slice_index.tolist(), strict=True)):
            there = {sequence for sequence, flags in present.items() if bool(flags[row])}
            for sequence in wanted:
                source = None if sequence in there else pick_source(sequence, there)
                target = pick_domain(self.generator.domains, sequence, self.site, self.reference_site)
                if source is not None and target is not None:
                    places.append((row, sequence))
                    keys.append(FillKey(self.digest, str(store.cases[index].path), number, source, target))
        for (row, sequence), fill in zip(places, self._draw(batch, [row for row, _ in places], keys), strict=True):
            images[sequence][row] = torch.where(batch.brain[row], fill.float(), -1.0)
        return replace(batch, images={**batch.images, **images})

    def fill_condition(self, store: CaseStore, batch: SliceBatch) -> SliceBatch:
        """Return the batch with T1 and FLAIR real or filled, never from a sequence that needs gadolinium."""
        return self.fill(store, batch, {sequence: batch.present[sequence] for sequence in CONTRAST_FREE}, CONDITION)

    def _draw(self, batch: SliceBatch, rows: list[int], keys: list[FillKey]) -> list[Tensor]:
        """Return the fills of `keys`, (1, H, W) float16, remembered or drawn from the sources in `rows`.

        On a CPU each is drawn alone: then its value cannot depend on what else is in the batch, and a resumed run
        gives the same bytes as an unbroken one.
        """
        fills = [self.memo.recall(key) for key in keys]
        unknown = [number for number, fill in enumerate(fills) if fill is None]
        together = 1 if self.device.type == "cpu" else max(1, len(unknown))
        for start in range(0, len(unknown), together):
            numbers = unknown[start : start + together]
            source = torch.stack([batch.images[keys[number].source][rows[number]] for number in numbers])
            target = torch.tensor([self.generator.domains.index(keys[number].target) for number in numbers])
            with torch.no_grad(), half_precision(self.device):
                drawn = self.generator.translate(source.to(self.device), target.to(self.device))
            for number, image in zip(numbers, drawn.float().clamp(-1, 1).half().cpu(), strict=True):
                self.memo.keep(keys[number], image.clone())
                fills[number] = image
        return [fill for fill in fills if fill is not None]


def stack_of(batch: SliceBatch, sequences: tuple[Sequence, ...]) -> Tensor:
    """Return the images of `sequences` as channels, (B, C, H, W)."""
    return torch.cat([batch.images[sequence] for sequence in sequences], dim=1)


def weights_digest(*models: object) -> str:
    """Return a hash over the names of the models' classes and all their tensors, 16 hex digits."""
    total = hashlib.sha256()
    for model in models:
        state = model.state_dict() if isinstance(model, nn.Module) else {}
        total.update(type(model).__qualname__.encode())
        for name, tensor in sorted(state.items()):
            total.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()[:16]


def has_condition(case: CachedCase) -> bool:
    """Whether T1 and FLAIR are there or can be filled without gadolinium."""
    return any(sequence in case.sequences for sequence in CONTRAST_FREE)


def enhancing_label(case: CachedCase) -> int | None:
    """Return the patient's label δ: 1 barrier disrupted, 0 intact, None unknown.

    It is the BBB status where known, else whether a full label map holds any enhancing tumour.
    """
    if case.bbb_disrupted is not None:
        return int(case.bbb_disrupted)
    if case.label_kind is LabelKind.FULL:
        return int(_enhances(case.path))
    return None


@cache
def _enhances(path: Path) -> bool:
    """Whether a cached label map holds ET; remembered, since a cache file is named by its content."""
    return bool((open_case(path).labels() == ET).any())
