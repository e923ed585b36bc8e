"""The network of each stage, with initial weights that depend on the study's seed alone.

Networks that are made of MONAI's parts are imported where they are built: MONAI takes seconds, in each new process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from common.nets.conditional_unet import ConditionalUNet
from common.nets.first_weights import initialise
from common.nets.map_synthesiser import MapSynthesiser
from common.nets.norms import norm_tensors
from common.nets.private_form import private_form
from common.nets.segmenter_plan import Reading, mirrored_axes, plan_patch
from common.nets.ummgat import Ummgat
from common.nets.validation_table import ValidationTable
from common.sequences import Domain, Sequence
from common.settings.stages import GeneratorStage, MapsStage, SegmenterStage, Stage, SynthesiserStage
from common.study import Study

if TYPE_CHECKING:
    from common.nets.segmenter import Segmenter

NEAR, FAR = 0.1, 0.5
"""How far a T1Gd lies from T1, in greys of [-1, 1], and how far from nothing."""


def build_model(stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator) -> nn.Module:
    """Return the model of `stage` at the study's size, its weights drawn from `generator`.

    A stage that the study trains privately gets networks in which no row of a batch sees another.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device).item())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the initialisers of MONAI and torch know no generator
        match stage:
            case Stage.GENERATOR | Stage.GENERATOR_FOLD_1 | Stage.GENERATOR_FOLD_2:
                settings = study.stages.generator or GeneratorStage()
                model: nn.Module = Ummgat(domains, study.size, settings.backbone)
                initialise(model, generator, settings.first_weights)
            case Stage.SYNTHESISER:
                model = _synthesiser(study)
            case Stage.SEGMENTER:
                model = _segmenter(study)
            case Stage.IDENTIFIER:
                from common.nets.identifier import Identifier

                model = Identifier(study.size)
            case Stage.CALIBRATION:
                model = ValidationTable()
            case Stage.MAPS:
                asked = study.stages.maps or MapsStage()
                model = MapSynthesiser(study.size, len(asked.inputs), critic_channels(asked))
    if study.privacy.covers(stage):
        private_form(model)
    say_what_stays(model, study)
    return model


def say_what_stays(model: nn.Module, study: Study) -> None:
    """Let a model declare the tensors that are each site's own: a local discriminator's, and under FedBN all norms."""
    settings = study.stages.generator
    local = isinstance(model, Ummgat) and settings is not None and settings.discriminator == "local"
    own: Any = model  # a module takes no plain attribute that mypy would know
    own.LOCAL_PREFIXES = ("discriminator.",) if local else ()
    own.LOCAL_NORMS = norm_tensors(model) if study.aggregation.local_norms else frozenset()


def _segmenter(study: Study) -> Segmenter:
    """Return the segmenter that the study's settings and grid ask for."""
    from common.nets.segmenter import Segmenter

    settings = study.stages.segmenter or SegmenterStage()
    flips = mirrored_axes(settings.mirror_axes, settings.dimensions) if settings.test_flips else ()
    if settings.patch is None:
        return Segmenter(study.size, None, Reading(flips=flips), settings.deep_supervision)
    (i, j, k), (step_i, step_j, step_k) = settings.patch, study.grid.spacing_mm
    plan = plan_patch(study.size, (k, i, j), (step_k, step_i, step_j))
    reading = Reading((k, i, j), settings.overlap, flips)
    return Segmenter(study.size, plan, reading, settings.deep_supervision)


def critic_channels(settings: MapsStage) -> int | None:
    """Return what the maps' critic sees: the map alone, the inputs beside it (pix2pix), or None where there is none."""
    seen = {"mae": None, "feature-consistency": 1, "pix2pix": len(settings.inputs) + 1}
    return seen[settings.objective]


def _synthesiser(study: Study) -> ConditionalUNet:
    """Return the synthesiser; its output is added to T1 wherever its mean is a T1Gd: an image, or a flow's velocity."""
    settings = study.stages.synthesiser or SynthesiserStage()
    adds = settings.target == "image" and settings.prediction == "image" and Sequence.T1 in settings.conditions
    spread = NEAR if adds or settings.target == "difference" else FAR
    return ConditionalUNet(
        study.size,
        conditions=len(settings.conditions),
        slices=settings.slices,
        base=settings.conditions.index(Sequence.T1) if adds else None,
        labelled=settings.use_label,
        dropout=settings.dropout,
        flow_spread=spread if settings.synthesiser == "flow" else None,
    )
