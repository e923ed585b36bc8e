"""How far a generator's drawings are from what was registered to their sources, beside copying."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from client.data.dataset import CaseStore
from client.training.update import Counted
from common.nets.ummgat import Ummgat
from common.sequences import Domain, Sequence

GREYS = 127.5
"""Levels of 255 in one of the 2 that a grey in [-1, 1] spans."""


@torch.inference_mode()
def pair_errors(
    model: Ummgat, domains: Mapping[Sequence, Domain], store: CaseStore, device: torch.device
) -> dict[str, Counted]:
    """Return the mean absolute error (grey levels of 255, in the brain) over registered pairs, and that of copying.

    Measured on some four slices of each case that holds two of `domains`; empty where none does.
    """
    drawn_errors: list[float] = []
    copy_errors: list[float] = []
    measured: set[str] = set()
    for index, case in enumerate(store.cases):
        held = [sequence for sequence in case.sequences if sequence in domains]
        usable = store.usable[index]
        if len(held) < 2 or not len(usable):
            continue
        measured.add(case.patient)
        batch = store.take([(index, int(k)) for k in usable[:: max(1, len(usable) // 4)]])
        brain = batch.brain.to(device)
        for source, target in ((a, b) for a in held for b in held if a != b):
            image, wanted = batch.images[source].to(device), batch.images[target].to(device)
            drawn = model.translate(image, domains[target])
            drawn_errors.append(float((drawn - wanted).abs()[brain].mean()) * GREYS)
            copy_errors.append(float((image - wanted).abs()[brain].mean()) * GREYS)
    if not drawn_errors:
        return {}
    return {
        "mae": Counted(sum(drawn_errors) / len(drawn_errors), len(measured)),
        "mae_copy": Counted(sum(copy_errors) / len(copy_errors), len(measured)),
    }
