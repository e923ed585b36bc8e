"""The network of each stage, with initial weights that depend on the study's seed alone."""

from __future__ import annotations

import torch
from torch import nn

from common.nets.conditional_unet import ConditionalUNet
from common.nets.identifier import Identifier
from common.nets.map_synthesiser import MapSynthesiser
from common.nets.segmenter import Segmenter
from common.nets.ummgat import Ummgat, initialise
from common.sequences import Domain
from common.study import MapsStage, Stage, Study


def build_model(stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator) -> nn.Module:
    """Return the model of `stage` at the study's size, its weights drawn from `generator`."""
    seed = int(torch.randint(2**62, (), generator=generator).item())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the initialisers of MONAI and torch know no generator
        match stage:
            case Stage.GENERATOR:
                model: nn.Module = Ummgat(domains, study.size)
                initialise(model, generator)
            case Stage.SYNTHESISER:
                model = ConditionalUNet(study.size)
            case Stage.SEGMENTER:
                model = Segmenter(study.size)
            case Stage.IDENTIFIER:
                model = Identifier(study.size)
            case Stage.MAPS:
                settings = study.stages.maps or MapsStage()
                model = MapSynthesiser(study.size, len(settings.inputs), critic_channels(settings))
    return model


def critic_channels(settings: MapsStage) -> int | None:
    """Return what the maps' critic sees: the map alone, the inputs beside it (pix2pix), or None where there is none."""
    seen = {"mae": None, "feature-consistency": 1, "pix2pix": len(settings.inputs) + 1}
    return seen[settings.objective]
