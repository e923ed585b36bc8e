"""Site by model by sequence: the sums of translation and segmentation, and the table that they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.assessment.declared import Declared, Values
from common.assessment.dossier import Figure, MatrixRow
from common.assessment.findings import Findings, Sums, deviation_of, mean_of
from common.plan import Plan
from common.sequences import Sequence
from common.study import Study

TRANSLATION, SEGMENTATION = "translation", "segmentation"
RELEASED, COPY, SITE_ALONE = "released", "copy", "site-alone"
REGIONS = ("WT", "TC", "ET")
MEASURES = {TRANSLATION: ("mae", "ssim"), SEGMENTATION: ("dice",)}
LOWER_IS_BETTER = frozenset({"mae"})

ERROR_AND_LIKENESS = Values(((0.0, 255.0), (-1.0, 1.0)))
OVERLAP = Values(((0.0, 1.0),))


def declare_translation(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return, for each sequence that the site holds, the errors of the drawings and of copying their source."""
    held, models = held_by(study, plan, site), (*_trained(study), COPY)
    return {f"{TRANSLATION}/{model}/{target}": ERROR_AND_LIKENESS for model in models for target in held}


def declare_segmentation(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return the overlap of each region, where the study trains a segmenter."""
    if study.stages.segmenter is None:
        return {}
    return {f"{SEGMENTATION}/{model}/{region}": OVERLAP for model in _trained(study) for region in REGIONS}


def _trained(study: Study) -> tuple[str, ...]:
    return (RELEASED, SITE_ALONE) if study.assessment.site_alone else (RELEASED,)


def held_by(study: Study, plan: Plan, site: str) -> tuple[Sequence, ...]:
    """Return the study's sequences that the plan gives `site` a domain of."""
    return tuple(domain.sequence for domain in plan.domains(study) if domain.site == site and not domain.lesion)


def matrix_of(findings: Mapping[str, Findings]) -> tuple[MatrixRow, ...]:
    """Return a row for each measure of each model that some site measured on enough patients."""
    names = {name for each in findings.values() for name in each.sums if name.split("/")[0] in MEASURES}
    return tuple(
        row
        for name in sorted(names)
        for number, measure in enumerate(MEASURES[name.split("/")[0]])
        for row in [_row(name, number, measure, findings)]
    )


def _row(name: str, number: int, measure: str, findings: Mapping[str, Findings]) -> MatrixRow:
    assessor, model, of = name.split("/")
    sums = {site: each.sums[name] for site, each in sorted(findings.items()) if name in each.sums}
    sites = {site: _figure(each, number) for site, each in sums.items()}
    return MatrixRow(
        assessor=assessor,
        model=model,
        of=of,
        measure=measure,
        pooled=_figure(added(sums.values()), number),
        sites=sites,
        withheld=tuple(site for site, each in sorted(findings.items()) if name in each.withheld),
        worst_site=_worst({site: each.mean for site, each in sites.items()}, measure),
    )


def _worst(means: Mapping[str, float], measure: str) -> str | None:
    """Return the site that fares worst; None where all fare alike, or there is nobody to compare with."""
    if len(set(means.values())) < 2:
        return None
    return (max if measure in LOWER_IS_BETTER else min)(means, key=means.__getitem__)


def added(sums: Iterable[Sums]) -> Sums:
    """Return the sums over the patients of all sites together."""
    every = list(sums)
    return Sums(
        patients=sum(each.patients for each in every),
        totals=tuple(map(sum, zip(*(each.totals for each in every), strict=True))),
        squares=tuple(map(sum, zip(*(each.squares for each in every), strict=True))),
    )


def _figure(sums: Sums, number: int) -> Figure:
    return Figure(patients=sums.patients, mean=mean_of(sums, number), deviation=deviation_of(sums, number))
