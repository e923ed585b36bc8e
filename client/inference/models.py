"""The models that a release offers, on the device that this machine has."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from client.compilation import Wish, make_ready
from client.inference.device import choose_device
from common.errors import ReleaseError
from common.nets.conditional_unet import ConditionalUNet
from common.nets.identifier import Identifier
from common.nets.map_synthesiser import MapSynthesiser
from common.nets.segmenter import Segmenter
from common.nets.ummgat import Ummgat
from common.release import Release
from common.sequences import Domain
from common.settings.stages import Stage


@dataclass(frozen=True)
class ReleasedModels:
    """The frozen networks of a release, in evaluation mode; None where it lacks the stage.

    Attributes:
        domains: the image domains that some site trained; the others kept their initial weights and are not used.
    """

    generator: Ummgat
    synthesiser: ConditionalUNet | None
    segmenter: Segmenter | None
    identifier: Identifier | None
    maps: MapSynthesiser | None
    domains: tuple[Domain, ...]
    device: torch.device


def open_models(release: Release, device: torch.device | None = None, wish: Wish = "auto") -> ReleasedModels:
    """Load what `release` offers onto `device`, by default the one of `choose_device`, in the form that is fast there.

    Args:
        release: what was trained.
        device: where it draws.
        wish: whether its networks are compiled, as `[hardware] compile` of a site says.
    Raises:
        ReleaseError: where the release has no generator, without which nothing can be completed.
    """
    place = choose_device() if device is None else device
    models = {stage: release.model(stage) for stage in release.stages}
    for model in models.values():
        make_ready(model, place, wish)
    generator = models.get(Stage.GENERATOR)
    if not isinstance(generator, Ummgat):
        raise ReleaseError(f"{release.path}: holds no generator; complete needs a release that has one")
    synthesiser, segmenter = models.get(Stage.SYNTHESISER), models.get(Stage.SEGMENTER)
    identifier, maps = models.get(Stage.IDENTIFIER), models.get(Stage.MAPS)
    return ReleasedModels(
        generator=generator,
        synthesiser=synthesiser if isinstance(synthesiser, ConditionalUNet) else None,
        segmenter=segmenter if isinstance(segmenter, Segmenter) else None,
        identifier=identifier if isinstance(identifier, Identifier) else None,
        maps=maps if isinstance(maps, MapSynthesiser) else None,
        domains=tuple(domain for domain in release.trained_domains if not domain.lesion),
        device=place,
    )
