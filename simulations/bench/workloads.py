"""The work that is timed: for each stage a network at a size, one training step and one inference on random slices."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from client.precision import half_precision
from client.training.optimisers import adamw
from client.training.tasks import step_builder
from client.training.trainer import TrainingStep, descend
from client.training.tumour_loss import tumour_loss
from client.training.workplace import Workplace
from common.nets.conditional_unet import ConditionalUNet
from common.nets.identifier import INPUTS, Identifier
from common.nets.map_synthesiser import MapSynthesiser
from common.nets.segmenter import Segmenter
from common.nets.stage_models import build_model
from common.nets.ummgat import Ummgat
from common.sequences import STRUCTURAL, Domain, Sequence
from common.settings.stages import MapsStage, Stage, Stages
from common.study import Study, parse_study
from simulations.bench.plain_cbsi import PlainCbsi
from simulations.bench.report import Form, Size
from simulations.bench.site import random_site

STUDY = """
name = "bench"
sites = ["bench"]
reference_site = "bench"
size = "{size}"
sequences = ["T1", "T1Gd", "T2", "FLAIR", "ADC", "CBV"]
[stages.generator]
batch_size = {rows}
[stages.synthesiser]
[stages.segmenter]
batch_size = {rows}
[stages.identifier]
[stages.maps]
batch_size = {rows}
"""

DOMAINS = tuple(Domain("bench", sequence, lesion) for lesion in (False, True) for sequence in STRUCTURAL)

MEASURED = tuple(Stage(name) for name in Stages.model_fields)
"""The stages with a network and a table of their own; folds and calibration follow from them."""


@dataclass(frozen=True)
class BatchShape:
    """Slices of a training step, and the sides of each."""

    rows: int
    height: int
    width: int


SHAPES: Mapping[Size, Mapping[Stage, BatchShape]] = {
    "tiny": dict.fromkeys(MEASURED, BatchShape(8, 64, 80)),
    "paper": {
        Stage.GENERATOR: BatchShape(8, 176, 176),
        Stage.SYNTHESISER: BatchShape(2, 424, 424),
        Stage.SEGMENTER: BatchShape(8, 240, 240),
        Stage.IDENTIFIER: BatchShape(8, 424, 424),
        Stage.MAPS: BatchShape(1, 240, 240),
    },
}
"""As the papers train; segmenter and maps on BraTS's grid."""


@dataclass(frozen=True)
class Workload:
    """One network and what is timed of it.

    Attributes:
        model: the network.
        optimisers: those that `train` moves.
        train: one whole optimiser step: forward, backward, gradient clipping, update.
        infer: one slice, without care for gradient mode.
    """

    model: nn.Module
    optimisers: tuple[torch.optim.Optimizer, ...]
    train: Callable[[], object]
    infer: Callable[[], object]


def prepare(stage: Stage, size: Size, form: Form, shape: BatchShape, device: torch.device) -> Workload:
    """Return the work of a stage, with weights and slices from one seed.

    The plain form of the synthesiser at paper size is the published network's, of any other the same network.
    """
    study = parse_study(STUDY.format(size=size, rows=shape.rows))
    draw = torch.Generator().manual_seed(study.seed)
    if stage is Stage.SYNTHESISER and form == "plain" and size == "paper":
        torch.manual_seed(study.seed)
        model: nn.Module = PlainCbsi()
    else:
        model = build_model(stage, study, DOMAINS, draw)
    model = model.to(device).train()
    slices = _Slices(shape, device, draw)
    match model:
        case Ummgat():
            return _generator(model, study, slices)
        case ConditionalUNet() | PlainCbsi():
            return _synthesiser(model, form, slices)
        case Segmenter():
            return _segmenter(model, study, slices)
        case Identifier():
            return _identifier(model, slices)
        case MapSynthesiser():
            return _maps(model, study, slices)
    raise ValueError(f"the bench has no workload for {type(model).__name__}; add one beside the others")


class _Slices:
    """Random slices of one shape."""

    def __init__(self, shape: BatchShape, device: torch.device, draw: torch.Generator) -> None:
        self.shape, self.device, self.draw = shape, device, draw

    def greys(self, channels: int, rows: int | None = None) -> Tensor:
        """Return (B, C, H, W) greys in [-1, 1]."""
        side = (self.shape.height, self.shape.width)
        greys = torch.rand(rows or self.shape.rows, channels, *side, generator=self.draw) * 2 - 1
        return greys.to(self.device)

    def masks(self, channels: int) -> Tensor:
        """Return (B, C, H, W) masks, a tenth of them one."""
        return (self.greys(channels) > 0.8).float()

    def numbers(self, limit: int, rows: int | None = None) -> Tensor:
        """Return (B,) int64 numbers below `limit`."""
        return torch.randint(limit, (rows or self.shape.rows,), generator=self.draw).to(self.device)


def _synthesiser(model: ConditionalUNet | PlainCbsi, form: Form, slices: _Slices) -> Workload:
    x_t, t, condition, enhancing = slices.greys(1), slices.numbers(1000), slices.greys(2), slices.numbers(2)
    image, tumour = slices.greys(1), slices.masks(1)
    known = torch.ones(len(tumour), 1, dtype=torch.bool, device=slices.device)
    plain = form == "plain"
    optimiser = torch.optim.AdamW(model.parameters(), 1e-5) if plain else adamw(model.parameters(), 1e-4, 1e-4)

    def train() -> None:
        with half_precision(slices.device):
            drawn = model(x_t, t, condition, enhancing)
        loss = F.l1_loss(drawn.image.float(), image) + 0.1 * tumour_loss(drawn.tumour_logits, tumour, known)
        descend(loss, {}, optimiser)

    def infer() -> None:
        with half_precision(slices.device):
            model(x_t[:1], t[:1], condition[:1], enhancing[:1])

    return Workload(model, (optimiser,), train, infer)


def _identifier(model: Identifier, slices: _Slices) -> Workload:
    inputs, consistent = slices.greys(INPUTS), slices.numbers(2).float()
    optimiser = adamw(model.parameters(), 1e-4, 1e-4)

    def train() -> None:
        with half_precision(slices.device):
            logits = model(inputs)
        descend(F.binary_cross_entropy_with_logits(logits.float(), consistent), {}, optimiser)

    def infer() -> None:
        with half_precision(slices.device):
            model(inputs[:1])

    return Workload(model, (optimiser,), train, infer)


def _generator(model: Ummgat, study: Study, slices: _Slices) -> Workload:
    """Return the whole game's step, R1 included every time."""
    step, batch = _own_step(Stage.GENERATOR, model, study, slices)
    image = slices.greys(1, rows=1)
    number = torch.full((1,), model.number(Domain("bench", Sequence.T2)), device=slices.device)

    def train() -> None:
        vars(step)["steps"] = 0
        step(batch)

    def infer() -> None:
        with half_precision(slices.device):
            model.translate(image, number)

    return Workload(model, tuple(step.optimisers.values()), train, infer)


def _segmenter(model: Segmenter, study: Study, slices: _Slices) -> Workload:
    step, batch = _own_step(Stage.SEGMENTER, model, study, slices)
    inputs = slices.greys(len(STRUCTURAL), rows=1)

    def train() -> None:
        step(batch)

    def infer() -> None:
        with half_precision(slices.device):
            model(inputs)

    return Workload(model, tuple(step.optimisers.values()), train, infer)


def _maps(model: MapSynthesiser, study: Study, slices: _Slices) -> Workload:
    step, batch = _own_step(Stage.MAPS, model, study, slices)
    inputs = len(MapsStage().inputs)
    images = slices.greys(inputs, rows=1)
    available = torch.ones(1, inputs, dtype=torch.bool, device=slices.device)

    def train() -> None:
        step(batch)

    def infer() -> None:
        with half_precision(slices.device):
            model(images, available)

    return Workload(model, tuple(step.optimisers.values()), train, infer)


def _own_step(stage: Stage, model: nn.Module, study: Study, slices: _Slices) -> tuple[TrainingStep, object]:
    """Return the stage's own step at a site of random slices, and a batch that it drew there."""
    tiny = study.model_copy(update={"size": "tiny"})
    frozen = {Stage.GENERATOR: build_model(Stage.GENERATOR, tiny, DOMAINS, slices.draw).eval()}
    with tempfile.TemporaryDirectory() as folder:
        store = random_site(Path(folder), slices.shape.height, slices.shape.width)
        step = step_builder(stage)(model, Workplace(study, DOMAINS, "bench", store, frozen, slices.device))
        return step, step.draw(slices.draw)
