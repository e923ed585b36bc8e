"""Inputs of the later stages: real slices, and what the frozen generator draws in the place of missing ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from client.data.cache import CachedCase, LabelKind, open_case
from client.data.dataset import CaseStore, SliceBatch
from client.inference.device import device_of
from client.inference.fill import Translator, pick_domain, pick_source
from client.precision import current_precision, half_precision
from client.training.fill_memo import SHARED_MEMO, FillKey, FillMemo
from client.training.folds import folds_of
from client.training.pens import CrossFit, Pen, trained_domains
from client.training.workplace import Workplace
from common.logs import logger
from common.nets.embeddings import FILLED, MISSING, REAL
from common.sequences import NEEDS_GADOLINIUM, Domain, Sequence
from common.settings.stages import FOLDS, Stage

ET = 4

log = logger(__name__)


class Filler:
    """The frozen generator with the sites whose style its fills take: the site's own, else the reference centre's.

    With a `cross_fit`, a training patient is filled by the generator of the fold that the patient is not in; whoever is
    in no fold, held-out patients above all, is filled by the generator of all. So is everybody in a sequence that a
    fold, for want of patients, did not learn in the style of the fill: otherwise half of the patients would be filled
    in another style, or with nothing.
    """

    def __init__(
        self,
        generator: Translator,
        site: str,
        reference_site: str,
        memo: FillMemo = SHARED_MEMO,
        cross_fit: CrossFit | None = None,
    ) -> None:
        self.pen = Pen(generator, generator.domains, f"{weights_digest(generator)}.{current_precision()}")
        self.site, self.reference_site, self.memo, self.cross_fit = site, reference_site, memo, cross_fit
        self.device = device_of(generator)
        self.crossed = frozenset(sequence for sequence in Sequence if self._both_folds_draw(sequence))

    def _both_folds_draw(self, sequence: Sequence) -> bool:
        """Whether either fold's generator learnt the very domain in which the generator of all fills a sequence."""
        if self.cross_fit is None:
            return False
        domain, *of_folds = (self._domain(pen, sequence) for pen in (self.pen, *self.cross_fit.pens))
        return all(each == domain for each in of_folds)

    @property
    def digest(self) -> str:
        """Hash of the generators' weights and of who is filled by which."""
        if self.cross_fit is None:
            return self.pen.digest
        folds = ",".join(f"{patient}:{fold}" for patient, fold in sorted(self.cross_fit.folds.items()))
        parts = " ".join((self.pen.digest, *(pen.digest for pen in self.cross_fit.pens), folds))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def _pen_of(self, case: CachedCase, sequence: Sequence) -> Pen:
        crossed = self.cross_fit if sequence in self.crossed else None
        return (crossed.pen_of(case.patient) if crossed else None) or self.pen

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
        pens: list[Pen] = []
        for row, (index, number) in enumerate(zip(batch.case_index.tolist(), batch.slice_index.tolist(), strict=True)):
            there = {sequence for sequence, flags in present.items() if bool(flags[row])}
            for sequence in wanted:
                pen = self._pen_of(store.cases[index], sequence)
                source, target = self._way(pen, sequence, there)
                if source is not None and target is not None:
                    places.append((row, sequence))
                    keys.append(FillKey(pen.digest, str(store.cases[index].path), number, source, target))
                    pens.append(pen)
        fills = self._draw(batch, [row for row, _ in places], keys, pens)
        for (row, sequence), fill in zip(places, fills, strict=True):
            images[sequence][row] = torch.where(batch.brain[row], fill.float(), -1.0)
        return replace(batch, images={**batch.images, **images})

    def availability(
        self, store: CaseStore, batch: SliceBatch, present: Mapping[Sequence, Tensor], wanted: tuple[Sequence, ...]
    ) -> Tensor:
        """Return what `fill` makes of each `wanted` sequence, (B, C) int64: `REAL`, `FILLED` or `MISSING`."""
        codes: list[list[int]] = []
        for row, index in enumerate(batch.case_index.tolist()):
            there = {sequence for sequence, flags in present.items() if bool(flags[row])}
            case = store.cases[index]
            codes.append([self._code(self._pen_of(case, sequence), sequence, there) for sequence in wanted])
        return torch.tensor(codes)

    def can_show(self, case: CachedCase, sequence: Sequence) -> bool:
        """Whether a case's sequence is real or can be filled, without gadolinium."""
        there = set(case.sequences).difference(NEEDS_GADOLINIUM)
        return self._code(self._pen_of(case, sequence), sequence, there) != MISSING

    def _code(self, pen: Pen, sequence: Sequence, there: set[Sequence]) -> int:
        return REAL if sequence in there else MISSING if None in self._way(pen, sequence, there) else FILLED

    def _way(self, pen: Pen, sequence: Sequence, there: set[Sequence]) -> tuple[Sequence | None, Domain | None]:
        """Return from which sequence of those that are there, and in which domain, a missing one is drawn."""
        source = None if sequence in there else pick_source(sequence, there)
        return source, self._domain(pen, sequence)

    def _domain(self, pen: Pen, sequence: Sequence) -> Domain | None:
        return pick_domain(pen.domains, sequence, self.site, self.reference_site)

    def _draw(self, batch: SliceBatch, rows: list[int], keys: list[FillKey], pens: list[Pen]) -> list[Tensor]:
        """Return the fills of `keys`, (1, H, W) float16, remembered or drawn by `pens` from the sources in `rows`.

        On a CPU each is drawn alone: then its value cannot depend on what else is in the batch, and a resumed run
        gives the same bytes as an unbroken one.
        """
        fills = [self.memo.recall(key) for key in keys]
        unknown: dict[str, list[int]] = {}
        for number, fill in enumerate(fills):
            if fill is None:
                unknown.setdefault(f"{number}" if self.device.type == "cpu" else pens[number].digest, []).append(number)
        for numbers in unknown.values():
            generator = pens[numbers[0]].generator
            source = torch.stack([batch.images[keys[number].source][rows[number]] for number in numbers])
            target = torch.tensor([generator.domains.index(keys[number].target) for number in numbers])
            with torch.no_grad(), half_precision(self.device):
                drawn = generator.translate(source.to(self.device), target.to(self.device))
            for number, image in zip(numbers, drawn.float().clamp(-1, 1).half().cpu(), strict=True):
                self.memo.keep(keys[number], image.clone())
                fills[number] = image
        return [fill for fill in fills if fill is not None]


def open_filler(place: Workplace) -> Filler:
    """Return what fills a site's cases in a later stage, cross-fitted where the study trained the folds for it."""
    study, frozen = place.study, place.frozen
    generator, cross_fit = cast(Translator, frozen[Stage.GENERATOR]), None
    if all(fold in frozen for fold in FOLDS):
        first, second = (
            Pen(
                cast(Translator, frozen[fold]),
                trained_domains(fold, frozen[fold], study, place.domains),
                f"{weights_digest(frozen[fold])}.{current_precision()}",
            )
            for fold in FOLDS
        )
        cross_fit = CrossFit(folds_of(place.store, study.seed), (first, second))
    filler = Filler(generator, place.site_name, study.reference_site, cross_fit=cross_fit)
    lent = [sequence for sequence in study.sequences if sequence not in filler.crossed]
    if cross_fit is not None and lent:
        log.warning("cross_fit: the generator of all fills %s, half of the patients were too few", ", ".join(lent))
    return filler


def contrast_free(batch: SliceBatch) -> dict[Sequence, Tensor]:
    """Return which sequences that need no gadolinium are there, (B,) bool each."""
    return {sequence: flags for sequence, flags in batch.present.items() if sequence not in NEEDS_GADOLINIUM}


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
    """Whether something is there from which a T1Gd can be drawn without gadolinium."""
    return any(sequence not in NEEDS_GADOLINIUM for sequence in case.sequences)


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
