"""One cached case completed in memory, from its real images to its BBB status."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from client.data.cache import CachedCase
from client.inference.barrier import judge_barrier
from client.inference.completion import Completion, Slices
from client.inference.drawing_plan import plan_of
from client.inference.fill import Redrawer
from client.inference.maps import DrawnMap, map_of_case
from client.inference.models import ReleasedModels, open_models
from client.inference.one_case import OneCase
from client.inference.remarks import centre_remarks, fill_remarks, hypotheses_remarks, map_remarks
from client.inference.segment import labels_of, without_specks
from common.errors import DataError
from common.release import Release
from common.sequences import Sequence
from common.settings.stages import MapsStage, SynthesiserStage


def complete_case(
    cached: CachedCase,
    release: Release,
    site: str | None,
    models: ReleasedModels | None = None,
    sampling_steps: int | None = None,
) -> Completion:
    """Complete one case.

    Synthesiser and segmenter see the case's own images, as they did in training, not their harmonized versions.

    Args:
        cached: a prepared case on the study's grid; only its `sequences` are used.
        release: the release.
        site: the site whose pictures these are; one that the release does not know is treated as None.
        models: the opened models of `release`, where many cases follow one another.
        sampling_steps: DDIM's or the solver's; None takes the study's.
    Raises:
        DataError: where the case holds no sequence of the study.
    """
    study, maps = release.study, release.study.stages.maps
    case = _opened(cached, release, site, open_models(release) if models is None else models)
    fills = case.fill(case.real, study.sequences)
    plan = plan_of(study.stages.synthesiser or SynthesiserStage(), sampling_steps)
    sources = case.sources(plan.conditions)
    hypotheses = case.draw(plan, sources, study.seed)
    probability = case.tumour(case.real)
    harmonized = case.harmonize(fills)
    drawn_map = _map_of(case, maps)
    return Completion(
        real=case.real,
        fills=fills,
        harmonizations=harmonized,
        hypotheses=hypotheses,
        condition=sources,
        tumour_probability=probability,
        labels=None if probability is None else without_specks(labels_of(probability), case.voxel_ml),
        bbb=judge_barrier(case, release.manifest.identifier, hypotheses, harmonized),
        drawn_map=drawn_map,
        site=case.site,
        remarks=(
            *centre_remarks(case, site),
            *fill_remarks(case, study.sequences, fills),
            *hypotheses_remarks(case),
            *map_remarks(case, maps, drawn_map is not None),
        ),
    )


def _opened(cached: CachedCase, release: Release, site: str | None, models: ReleasedModels) -> OneCase:
    study = release.study
    return OneCase(
        Redrawer(models.generator, _real_images(cached, study.sequences), cached.brain(), models.domains),
        voxel_ml=float(abs(np.linalg.det(cached.affine[:3, :3]))) / 1000,
        site=site if site in study.sites else None,
        reference_site=study.reference_site,
        models=models,
    )


def _real_images(cached: CachedCase, wanted: Iterable[Sequence]) -> dict[Sequence, Slices]:
    """Return the images of `wanted` that the case holds. Raises DataError where it holds none."""
    real = {sequence: cached.slices(sequence) for sequence in wanted if sequence in cached.sequences}
    if not real:
        held = ", ".join(cached.sequences)
        raise DataError(f"{cached.case}: holds none of the study's sequences ({', '.join(wanted)}), only {held}")
    return real


def _map_of(case: OneCase, settings: MapsStage | None) -> DrawnMap | None:
    """Return the target of the maps stage, where there is such a stage."""
    if case.models.maps is None or settings is None:
        return None
    return map_of_case(case.models.maps, settings, case.real, case.brain)
