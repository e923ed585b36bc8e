"""All attacks on one phantom hospital: at the site on a release, with shadow models, and on single updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from client.data.dataset import CaseStore
from client.site import Site
from client.training.fixed_slices import fixed_slices
from common.assessment.dossier import DOSSIER, Dossier, read_dossier
from common.errors import StudyError
from common.files import write_whole
from common.sequences import Sequence
from common.study import Study, load_study
from simulations.attacks.inversion_trials import InversionTrial, trials
from simulations.attacks.shadow_models import train_shadows
from simulations.attacks.tables import tables
from simulations.attacks.updates import Shown
from simulations.cohort import cohort_of, draw_phantoms
from simulations.consortium import open_consortium, prepare_sites, write_site_files
from simulations.federation import run_federation
from simulations.scale import SCALES

Advance = Callable[[int, int], None]

INVERTED = 5
"""Patients that send updates to be inverted."""
SEARCH_STEPS = 600
SEEN_AS = (Sequence.T1, Sequence.FLAIR, Sequence.T1GD)
"""The channels of the identifier."""


@dataclass(frozen=True)
class AttackSettings:
    """What to run.

    Attributes:
        study: path of a study with `[stages.maps]` and `[assessment]`, `<stem>.cohort.toml` beside it; its first site
            is attacked.
        out: folder for phantoms, the run, and `tables.md`.
        models: shadow models, an even number.
        after: steps after which they are attacked, rising.
        seed: of the phantoms.
    """

    study: Path
    out: Path
    models: int = 8
    after: tuple[int, ...] = (100, 400)
    seed: int = 1


def run_attacks(settings: AttackSettings, advance: Advance) -> str:
    """Train, release, attack; return the tables as Markdown, also left in `<out>/tables.md`.

    Raises:
        StudyError: the study has no maps, or no assessment.
        FederationError: the run did not reach its quorum, or its release was refused.
    """
    study = load_study(settings.study)
    if study.stages.maps is None or not study.assessment.enabled:
        raise StudyError(f"{settings.study}: an attack needs [stages.maps], and [assessment] enabled = true")
    site, dossier = _released(settings, study)
    shadows = train_shadows(site, study, settings.models, settings.after, advance)
    text = tables(dossier, shadows, invert_updates(site.training, study.seed, SEARCH_STEPS))
    write_whole(settings.out / "tables.md", text.encode())
    return text


def _released(settings: AttackSettings, study: Study) -> tuple[Site, Dossier]:
    """Train and assess a release of the study on phantoms; return its first site and what all said of it."""
    out = settings.out
    scenario = cohort_of(settings.study, study, SCALES["tiny"], None)
    draw_phantoms(out / "phantom", scenario, settings.seed, 1, _silent)
    files = write_site_files(study, out / "phantom" / "sites", out / "sites")
    prepare_sites(files, study, 1, _silent)
    run_federation(study, files, out / "run", resume=True).require_complete()
    dossier = read_dossier(out / "run" / DOSSIER)
    assert dossier is not None  # noqa: S101
    return open_consortium(files, study).sites[study.sites[0]], dossier


def invert_updates(store: CaseStore, seed: int, steps: int) -> list[InversionTrial]:
    """Invert updates of the store's first patients who have all channels, at a grid of multiples of 4.

    The others give the mean picture that a recovered one is held against.

    Raises:
        StudyError: where too few patients have them.
    """
    slices = fixed_slices(store, lambda case: set(SEEN_AS) <= set(case.sequences), limit=len(store.cases))
    if slices is None or len(slices.brain) <= INVERTED:
        raise StudyError(f"inversion needs more than {INVERTED} patients with {', '.join(SEEN_AS)}; draw more")
    images = torch.cat([slices.images[sequence] for sequence in SEEN_AS], dim=1)
    size = (4 * (images.shape[2] // 4), 4 * (images.shape[3] // 4))
    images, brain = F.adaptive_avg_pool2d(images, size), F.adaptive_avg_pool2d(slices.brain.float(), size) > 0.5
    shown = Shown(images[:INVERTED], slices.bbb[:INVERTED].clamp(min=0).float(), brain[:INVERTED, 0])
    return list(trials(shown, images[INVERTED:], seed, steps))


def _silent(done: int, total: int) -> None:
    """Hear nothing."""
