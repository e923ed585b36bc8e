"""Every stage's step taken privately: rows of one patient alone, clipped one by one, noise in every weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.privacy import private_step
from client.privacy.dp_sgd import trained_weights
from client.privacy.private_step import PrivateStep
from client.training import identification_step, paired_step, segmentation_step, synthesis_step
from client.training.trainer import NonFiniteLossError, fit
from client.training.workplace import Workplace
from common.nets.conditional_unet import Synthesis
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL, Sequence
from common.settings.privacy import Privacy
from common.settings.stages import Stage
from common.study import Study, parse_study

STUDY = """
name = "toy"
sites = ["a"]
reference_site = "a"
sequences = ["T1", "T1Gd", "T2", "FLAIR", "ADC", "CBV"]
[grid]
shape = [32, 48]
spacing_mm = [5.0, 5.0, 5.0]
[stages.generator]
[stages.synthesiser]
diffusion_steps = 100
sampling_steps = 2
dropout = 0.1
condition_dropout = 0.3
[stages.segmenter]
{segmenter}
[stages.identifier]
validation_fraction = 0
[stages.maps]
{maps}
[privacy]
stages = ["synthesiser", "segmenter", "identifier", "maps"]
"""
ALL = (*STRUCTURAL, Sequence.ADC, Sequence.CBV)
FAMILIES = {
    "segmenter": (Stage.SEGMENTER, segmentation_step, {}),
    "segmenter, 3-D": (Stage.SEGMENTER, segmentation_step, {"segmenter": "dimensions = 3\npatch = [32, 32, 4]"}),
    "synthesiser": (Stage.SYNTHESISER, synthesis_step, {}),
    "identifier": (Stage.IDENTIFIER, identification_step, {}),
    "maps": (Stage.MAPS, paired_step, {"maps": 'objective = "mae"'}),
    "maps, pix2pix": (Stage.MAPS, paired_step, {"maps": 'objective = "pix2pix"'}),
}


class Enhancing(nn.Module):
    """A synthesiser that draws T1, brighter where FLAIR is bright if the label says so."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor) -> Synthesis:
        bright = (condition[:, 1:] > 0.4).float() * enhancing[:, None, None, None]
        return Synthesis(condition[:, :1] + 0.5 * bright, torch.zeros_like(x_t))


class BrightTumour(nn.Module):
    """A segmenter that sees tumour where FLAIR is bright."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 3:] > 0.4, 5.0, -5.0).expand(-1, 3, -1, -1)


def study_of(family: str) -> Study:
    return parse_study(STUDY.format(**{"segmenter": "", "maps": ""} | FAMILIES[family][2]))


@pytest.fixture
def store(make_case: Callable[..., Any]) -> CaseStore:
    """Three patients of either status; one lacks FLAIR and T1Gd, and so is filled."""
    held = [ALL, ALL, (Sequence.T1, Sequence.T2, Sequence.CBV)]
    return CaseStore([make_case(f"p{n}", held[n], bbb=n != 1, enhances=n != 1) for n in range(3)], ALL)


@pytest.fixture
def open_step(generator_model: nn.Module) -> Callable[..., Any]:
    def build(family: str, store: CaseStore) -> Any:
        stage, module, _ = FAMILIES[family]
        study = study_of(family)
        frozen = {Stage.GENERATOR: generator_model, Stage.SYNTHESISER: Enhancing(), Stage.SEGMENTER: BrightTumour()}
        model = build_model(stage, study, (), torch.Generator().manual_seed(0)).train()
        return module.build_step(model, Workplace(study, (), "a", store, frozen, torch.device("cpu")))

    return build


@pytest.fixture
def fixed_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_step, "fresh_generator", lambda: torch.Generator().manual_seed(7))


def tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    return (
        [each for field in fields(batch) for each in tensors(getattr(batch, field.name))] if is_dataclass(batch) else []
    )


def settings(**changes: Any) -> Privacy:
    return Privacy(**{"sampling_rate": 1.0, "noise_multiplier": 1.0} | changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_of_a_patient_does_not_depend_on_who_else_is_there(
    family: str, open_step: Any, store: CaseStore
) -> None:
    among, alone = open_step(family, store), open_step(family, store.of_patient("p0"))
    assert "p0" in among.trained_patients() and alone.trained_patients() == ("p0",)
    rows = [tensors(step.draw_of("p0", torch.Generator().manual_seed(3))) for step in (among, alone)]
    assert len(rows[0]) > 1 and all(torch.equal(a, b) for a, b in zip(*rows, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_every_network_gets_noise_even_where_nobody_is_drawn(
    family: str, open_step: Any, store: CaseStore
) -> None:
    step = PrivateStep(open_step(family, store), settings(), expected=1)
    before = {name: weight.detach().clone() for name, weight in step.model.named_parameters()}
    step(((),) * step.moves)
    still = [name for name, weight in step.model.named_parameters() if bool((weight == before[name]).any())]
    assert before and not still
    step.check_buffers()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_private_step_without_noise_is_a_loop_over_patients_with_clipped_gradients(
    family: str, open_step: Any, store: CaseStore, fixed_chance: None
) -> None:
    clip = 0.05
    ours, plain = open_step(family, store), open_step(family, store)
    seen: dict[str, list[Tensor]] = {}
    for optimiser in ours.optimisers.values():
        optimiser.step = lambda optimiser=optimiser: seen.update(
            {str(id(optimiser)): [weight.grad.clone() for weight in trained_weights(optimiser)]}
        )
    step = PrivateStep(ours, Privacy.model_construct(**dict(settings(clip_norm=clip)) | {"noise_multiplier": 0.0}), 2)
    step(step.draw(torch.Generator()))
    for move in plain.moves(0):
        optimiser = plain.optimisers[move.optimiser]
        weights = trained_weights(optimiser)
        total = [torch.zeros_like(weight) for weight in weights]
        for patient in plain.trained_patients():
            torch.manual_seed(7)
            rows = plain.draw_of(patient, torch.Generator().manual_seed(7))
            optimiser.zero_grad()
            move.loss(rows).backward()
            gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            for each, gradient in zip(total, gradients, strict=True):
                each += gradient * min(1.0, clip / float(norm))
        for found, wanted in zip(seen[str(id(ours.optimisers[move.optimiser]))], total, strict=True):
            assert torch.allclose(found, wanted / 2, atol=1e-6)


def test_a_private_stage_takes_steps_in_the_common_loop(open_step: Any, store: CaseStore) -> None:
    step = PrivateStep(open_step("segmenter", store), settings(sampling_rate=0.5), expected=1)
    told: list[dict[str, float]] = []
    fit(step, [step.draw(torch.Generator()) for _ in range(3)], lambda number, losses: told.append(losses))
    assert told == [{}, {}, {}] and step.number == 3


def test_weights_that_are_no_longer_finite_end_the_round(open_step: Any, store: CaseStore) -> None:
    step = PrivateStep(open_step("identifier", store), settings(), expected=1)
    with torch.no_grad():
        next(step.model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="weights became"):
        step(step.draw(torch.Generator()))


def test_the_papers_identifier_is_built_without_batch_norm_where_it_is_private() -> None:
    study = study_of("identifier").model_copy(update={"size": "paper"})
    plain = study.model_copy(update={"privacy": Privacy()})
    nets = [build_model(Stage.IDENTIFIER, each, (), torch.Generator().manual_seed(0)) for each in (study, plain)]
    mixing = [any(isinstance(part, nn.BatchNorm2d) for part in net.modules()) for net in nets]
    assert mixing == [False, True]
    assert not [name for name, buffer in nets[0].named_buffers() if buffer.is_floating_point()]
