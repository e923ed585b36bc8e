"""UMMGAT with and without its lesion module, with and without the pairs that some patients offer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import cast

from client.inference.fill import Translator
from common.settings.stages import Stage, Stages
from common.study import Study
from simulations.ablations.feature_encoder import FeatureEncoder
from simulations.ablations.phantoms import Phantoms
from simulations.ablations.records import Figures
from simulations.ablations.training import OnRound, Trained, train_stage
from simulations.baselines import fit_baselines
from simulations.comparison.subject import Pencil
from simulations.comparison.translation import compare_translation
from simulations.report.measures import Method

FULL = "pairs + lesion module"


def arms(study: Study) -> Mapping[str, Study]:
    """Return the arms' studies by name; all differ from `study` in what the name says, and end with the generator."""
    settings = study.stages.generator
    if settings is None:
        raise ValueError("the study has no generator stage")
    without = settings.model_copy(update={"lesion_style_weight": 0.0})
    unpaired = study.data.model_copy(update={"pairs": "ignore"})
    return {
        FULL: study.model_copy(update={"stages": Stages(generator=settings)}),
        "no pairs": study.model_copy(update={"stages": Stages(generator=settings), "data": unpaired}),
        "no pairs, no lesion module": study.model_copy(update={"stages": Stages(generator=without), "data": unpaired}),
    }


def train_arm(arm: str, study: Study, phantoms: Phantoms, folder: Path, on_round: OnRound) -> Trained:
    """Train the generator of one arm, or find it trained."""
    return train_stage(arms(study)[arm], Stage.GENERATOR, phantoms, {}, folder / "weights", on_round)


def measure_arm(
    arm: str, study: Study, phantoms: Phantoms, encoder: FeatureEncoder, folder: Path, on_round: OnRound
) -> Figures:
    """Train one arm of `study` and measure it on the held-out patients.

    Errors are means over the sites' ordered pairs, in grey levels of 255 inside brain or lesion, beside copying the
    source and the tone curve. Identity is a domain drawn as itself. FD is taken per target sequence over all sources,
    and averaged; lesion FD likewise over slices that show tumour.
    """
    trained = train_arm(arm, study, phantoms, folder, on_round)
    model = trained.model(study, phantoms)
    domains = tuple(domain for domain in phantoms.plan.domains(study) if not domain.lesion)
    pencil = Pencil(cast(Translator, model), domains, study.reference_site)
    baselines = {name: fit_baselines(site.training.cases, study.sequences) for name, site in phantoms.sites.items()}
    found = compare_translation(phantoms.subjects, pencil, baselines, lambda: None)

    def brain(method: Method) -> float | None:
        errors = [one.mae for pair in found.fidelity if (one := pair.brain.get(method)) is not None]
        return fmean(errors) if errors else None

    def lesion(method: Method) -> float | None:
        errors = [one for pair in found.fidelity if (one := pair.lesion_mae.get(method)) is not None]
        return fmean(errors) if errors else None

    return {
        "brain MAE": brain("generator"),
        "copy": brain("copy"),
        "tone curve": brain("tone curve"),
        "lesion MAE": lesion("generator"),
        "lesion copy": lesion("copy"),
        "lesion tone curve": lesion("tone curve"),
        "identity": fmean(one.mae for one in found.identity),
        "worst identity": max(one.mae for one in found.identity),
        "FD": _distance(phantoms, pencil, encoder, lesion=False),
        "lesion FD": _distance(phantoms, pencil, encoder, lesion=True),
        "training s": trained.seconds,
    }


def _distance(phantoms: Phantoms, pencil: Pencil, encoder: FeatureEncoder, lesion: bool) -> float | None:
    """Return FD between drawn and real slices, a target's own site and all sources at once, averaged over targets."""
    distances = []
    for domain in pencil.domains:
        drawn, real = [], []
        for subject in phantoms.subjects:
            rows = [k for k, number in enumerate(subject.sampled) if not lesion or subject.lesion[number].any()]
            if subject.site != domain.site or not rows:
                continue
            sources = [source for source in subject.truth.sequences if source != domain.sequence]
            drawn += [pencil.draw(subject, source, domain, subject.sampled)[rows] for source in sources]
            real.append(subject.truth.slices(domain.sequence)[[subject.sampled[k] for k in rows]])
        if drawn and real:
            distances.append(encoder.distance(drawn, real))
    return fmean(distances) if distances else None
