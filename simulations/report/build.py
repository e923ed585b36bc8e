"""The summary of a run, put together from what was measured; the notes say how honest its figures are."""

from __future__ import annotations

from typing import Literal

from common.release import Release
from common.study import Study
from simulations.comparison.evaluation import Evaluation
from simulations.consortium import Consortium
from simulations.report.course import ContractFacts, Cost, DataFacts, SiteFacts, StageFacts, StudyFacts, Way
from simulations.report.facts import versions
from simulations.report.measures import Identification
from simulations.report.summary import Summary, Target
from simulations.report.targets import (
    hypotheses_targets,
    identification_targets,
    segmentation_targets,
    translation_targets,
)

Kind = Literal["synthetic phantom", "real"]

PHANTOM_NOTE = (
    "Phantom patients, measured against the complete truth, which no site and no model saw. The figures show that the "
    "method works and how well; they say nothing about real patients."
)
REAL_NOTE = "Real patients that no model saw; only sequences that a patient really has are compared."
RESUBSTITUTION_NOTE = (
    "Resubstitution: nobody was held out, so these are the very patients that the models were trained on, and every "
    "figure flatters. It shows that the way from raw folders to completed cases works, not how well."
)
CONTINUED_NOTE = (
    "Held out now, but the generator goes on from an earlier release, which may have been trained on some of these "
    "patients where their site has gained others since: its figures may flatter."
)


def build_summary(
    release: Release,
    consortium: Consortium,
    evaluation: Evaluation,
    identification: Identification | None,
    *,
    kind: Kind,
    scale: str,
    engine: str,
    stages: tuple[StageFacts, ...],
    contract: ContractFacts | None = None,
    failures: tuple[str, ...],
    cost: Cost,
) -> Summary:
    """Return the whole summary, with every target judged."""
    study, way = release.study, way_of(release.study, consortium)
    return Summary(
        versions=versions(),
        study=StudyFacts(
            name=study.name,
            digest=study.digest,
            seed=study.seed,
            size=study.size,
            scale=scale,
            engine=engine,
            reference_site=study.reference_site,
            release=release.digest,
        ),
        data=data_facts(consortium, kind, way),
        targets=judge(evaluation, identification, small=scale == "small", held_out=way == "held-out"),
        contract=contract,
        stages=stages,
        fidelity=evaluation.translation.fidelity,
        identity=evaluation.translation.identity,
        fill_gap=evaluation.fill_gap,
        hypotheses=evaluation.hypotheses,
        segmentation=evaluation.segmentation,
        identification=identification,
        maps=evaluation.maps,
        failures=failures,
        cost=cost,
    )


def judge(
    evaluation: Evaluation, identification: Identification | None, *, small: bool, held_out: bool
) -> tuple[Target, ...]:
    """Return every target with its verdict; where a model may have seen the patients they are only reported."""
    translation = evaluation.translation
    targets = (
        *translation_targets(translation.fidelity, translation.identity, small=small),
        *hypotheses_targets(evaluation.hypotheses),
        *segmentation_targets(evaluation.segmentation),
        *identification_targets(identification),
    )
    return targets if held_out else tuple(map(unjudged, targets))


def unjudged(target: Target) -> Target:
    """Return `target` without its verdict."""
    judged = target.status in ("met", "missed")
    return target.model_copy(update={"status": "reported"}) if judged else target


def way_of(study: Study, consortium: Consortium) -> Way:
    """Return on whom the run is measured."""
    if not consortium.held_out:
        return "resubstitution"
    generator = study.stages.generator
    return "held-out" if generator is None or generator.start_from is None else "continued"


def data_facts(consortium: Consortium, kind: Kind, way: Way) -> DataFacts:
    """Return what each site brought, and what the figures can say."""
    unseen = PHANTOM_NOTE if kind == "synthetic phantom" else REAL_NOTE
    notes: dict[Way, str] = {"held-out": unseen, "resubstitution": RESUBSTITUTION_NOTE, "continued": CONTINUED_NOTE}
    sites = tuple(
        SiteFacts(
            site=name,
            training_patients=site.inventory.training_patients,
            held_out_patients=len({case.patient for case in site.held_out.cases}),
            sequences=dict(site.inventory.sequences),
            labelled_patients=site.inventory.labelled_patients,
            bbb_patients=site.inventory.bbb_patients,
        )
        for name, site in consortium.sites.items()
    )
    return DataFacts(
        kind=kind,
        evaluation=way,
        note=notes[way],
        sites=sites,
    )
