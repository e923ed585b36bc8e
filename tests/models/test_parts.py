"""The real steps, cut into parts by a small memory: what the whole batch would have taught."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from client.precision import computing_in
from client.training import segmentation_step, synthesis_step
from client.training.identification_step import IdentificationStep, pair_up
from client.training.row_budget import RowBudget, within
from client.training.workplace import Workplace
from common.nets.conditional_unet import ConditionalUNet
from common.nets.identifier import Identifier
from common.nets.segmenter import Segmenter
from common.sequences import STRUCTURAL
from common.settings.stages import Stage

T1, T1GD, T2, FLAIR = STRUCTURAL
CPU = torch.device("cpu")


def taught(step: Any, batch: Any, rows: int | None) -> tuple[dict[str, float], torch.Tensor]:
    """Return losses and the whole gradient of one step in fp32, `rows` at a time."""
    with computing_in("fp32"), within(RowBudget(rows)):
        losses = step(batch)
    gradients = [parameter.grad.flatten() for parameter in step.model.parameters() if parameter.grad is not None]
    return losses, torch.cat(gradients)


def away(whole: torch.Tensor, parted: torch.Tensor) -> float:
    """Return the distance of two gradients as a share of the first's norm."""
    return float((whole - parted).norm() / whole.norm())


@pytest.mark.parametrize("segmentation", [LabelKind.NONE, LabelKind.FULL])
def test_the_synthesis_learns_the_same_in_parts(study, generator_model, make_case, segmentation) -> None:
    """Exactly so where no Dice is in the batch; patients without T1Gd weigh nothing in any part."""
    cases = [make_case("p1", label_kind=segmentation), make_case("p2", (T1, FLAIR), label_kind=segmentation)]
    store = CaseStore(cases if segmentation is LabelKind.FULL else cases[:1], STRUCTURAL)
    found = []
    for rows in (None, 1):
        torch.manual_seed(0)
        frozen = {Stage.GENERATOR: generator_model}
        step = synthesis_step.build_step(ConditionalUNet("tiny"), Workplace(study, (), "a", store, frozen, CPU))
        torch.nn.init.normal_(step.model.out.weight)  # so that more than the last layer has a gradient
        found.append(taught(step, step.draw(torch.Generator().manual_seed(2)), rows))
    (whole, gradient), (parted, in_parts) = found
    assert parted["synthesis"] == pytest.approx(whole["synthesis"], rel=1e-4)
    assert away(gradient, in_parts) < (1e-3 if segmentation is LabelKind.NONE else 0.1)


def test_the_segmenter_learns_nearly_the_same_in_parts(study, generator_model, full_store: CaseStore) -> None:
    """Nearly: each part has a Dice of its own."""
    found = []
    for rows in (None, 2):
        torch.manual_seed(0)
        frozen = {Stage.GENERATOR: generator_model}
        step = segmentation_step.build_step(Segmenter("tiny"), Workplace(study, (), "a", full_store, frozen, CPU))
        found.append(taught(step, step.draw(torch.Generator().manual_seed(2)), rows))
    (whole, gradient), (parted, in_parts) = found
    assert parted["loss"] == pytest.approx(whole["loss"], rel=0.1)
    assert away(gradient, in_parts) < 0.5


def test_the_identifier_learns_the_same_in_parts(study) -> None:
    batch = pair_up(torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1, 0]))
    found = []
    for rows in (None, 3):
        torch.manual_seed(0)
        step = IdentificationStep.__new__(IdentificationStep)
        step.model, step.device = Identifier("tiny"), CPU
        step.optimisers = {"identifier": torch.optim.SGD(step.model.parameters(), lr=0.1)}
        found.append(taught(step, batch, rows))
    (whole, gradient), (parted, in_parts) = found
    assert parted["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert away(gradient, in_parts) < 1e-4
