"""A run whose generator goes on from an earlier release: a hospital joins later, or brings another sequence.

The sites need no copy of it: they receive the global weights with the first round, as ever.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from common.errors import ReleaseError, StudyError
from common.nets.new_domains import over_domains
from common.nets.stage_models import say_what_stays
from common.nets.ummgat import Ummgat
from common.release import Release, load_release
from common.sequences import Domain
from common.settings.stages import Stage
from common.study import Study
from server.stages import ModelBuilder


def continuing(build: ModelBuilder, study: Study, folder: Path | None) -> ModelBuilder:
    """Return `build`, or a builder whose generator begins as that of the release which the study names.

    Heads of domains that the release was trained on are taken over, those of others begin as the mean of their
    relatives (`common.nets.new_domains`); domains that the study's plan no longer has are left out. The generators of a
    cross-fit begin anew: the release may have seen the patients that each of them must not.

    Raises:
        StudyError: where the study names a release and none is given, or the other way round, or the networks or the
            held-out patients differ.
        ReleaseError: where the release is damaged, or not the one that the study names.
    """
    settings = study.stages.generator
    expected = None if settings is None else settings.start_from
    if settings is None or expected is None:
        if folder is not None:
            raise StudyError(f"{folder}: the study names no release; add its digest as stages.generator.start_from")
        return build
    if folder is None:
        raise StudyError(f"the study goes on from release {expected[:12]}…; give its folder (--start-from)")
    release = load_release(folder)
    if release.digest != expected:
        raise ReleaseError(f"{folder}: is release {release.short}…, the study names {expected[:12]}…; give that one")
    before = release.study.stages.generator
    if before is None or (release.study.size, before.backbone) != (study.size, settings.backbone):
        raise StudyError(f"{folder}: its generator is not of the study's size and backbone; give both as they were")
    if (release.study.seed, release.study.data.holdout_fraction) != (study.seed, study.data.holdout_fraction):
        raise StudyError(
            f"{folder}: was trained with seed {release.study.seed} and data.holdout_fraction "
            f"{release.study.data.holdout_fraction:g}; take both over, or patients that it has seen would be held out"
        )

    def build_continued(
        stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator
    ) -> nn.Module:
        if stage is not Stage.GENERATOR:
            return build(stage, study, domains, generator)
        model = _continued(release, domains)
        say_what_stays(model, study)
        return model

    return build_continued


def _continued(release: Release, domains: tuple[Domain, ...]) -> Ummgat:
    model = release.model(Stage.GENERATOR)
    if not isinstance(model, Ummgat):
        raise ReleaseError(f"{release.path}: holds no generator of this version")
    return over_domains(model, domains, release.trained_domains).train().requires_grad_(True)
