"""What a run is asked to reach, and whether it did; a target that was missed is printed as missed."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Literal

from common.sequences import STRUCTURAL, Sequence
from simulations.report.measures import (
    AucFacts,
    Hypotheses,
    Identification,
    IdentityError,
    Method,
    PairFidelity,
    Segmentation,
)
from simulations.report.summary import Target

COPY_RATIO = 0.8
BETTER_PAIRS = 9
IDENTITY_GREYS = 10.0
CORE_GREYS = 10.0
CORE_OVER_NORMAL = 3.0
RIGHT_LABEL_SHARE = 0.75
FILL_RATIO = 0.85

Direction = Literal["at most", "at least"]
Pair = tuple[Sequence, Sequence]


def translation_targets(
    fidelity: Iterable[PairFidelity], identity: Iterable[IdentityError], *, small: bool
) -> list[Target]:
    """Judge the generator; with `small` also against tone curve and best copy for T2 and FLAIR, and in the lesion."""
    entries, own = tuple(fidelity), tuple(identity)
    drawn, copied = mean_by_pair(entries, "generator"), mean_by_pair(entries, "copy")
    pairs = sorted(drawn.keys() & copied.keys())
    ratio = fmean(drawn[pair] for pair in pairs) / fmean(copied[pair] for pair in pairs) if pairs else None
    better = sum(drawn[pair] < copied[pair] for pair in pairs) if pairs else None
    worst = max(own, key=lambda entry: entry.mae, default=None)
    found = [
        _judge(
            "copy ratio",
            "mean MAE over the ordered pairs, against copying the source",
            ratio,
            COPY_RATIO,
            "at most",
            f"{len(pairs)} ordered pairs" if pairs else "no pair could be measured",
        ),
        _judge(
            "better pairs",
            "ordered pairs in which the generator beats copying",
            better,
            _share_of_twelve(len(pairs)),
            "at least",
            _losers(drawn, copied),
        ),
        _judge(
            "identity",
            "the worst domain translated into itself, MAE in grey levels",
            worst.mae if worst else None,
            IDENTITY_GREYS,
            "at most",
            f"{worst.site} {worst.sequence}; mean {fmean(each.mae for each in own):.1f}" if worst else "not measured",
        ),
    ]
    stronger: tuple[Method, ...] = ("tone curve", "best copy")
    harder = [_against(entries, method, region, small=small) for region in ("brain", "lesion") for method in stronger]
    return found + harder


def hypotheses_targets(found: Iterable[Hypotheses]) -> list[Target]:
    """Judge the two hypotheses over all sites."""
    every = next((entry for entry in found if entry.site == "all"), None)
    core = every.core_change if every else None
    normal = every.normal_change if every else None
    ratio = core / normal if core is not None and normal else None
    share = every.share if every else None
    detail = f"{every.right_label_wins} of {every.compared}, 95 % {every.low:.2f} … {every.high:.2f}" if every else ""
    return [
        _judge("core change", "the ET label moves the tumour core, grey levels", core, CORE_GREYS, "at least", ""),
        _judge(
            "core over normal",
            "and this many times as much as normal tissue",
            ratio,
            CORE_OVER_NORMAL,
            "at least",
            f"normal tissue moves by {normal:.1f}" if normal is not None else "",
        ),
        _judge(
            "right label",
            "patients whose true label has the smaller core error",
            share,
            RIGHT_LABEL_SHARE,
            "at least",
            detail,
        ),
    ]


def segmentation_targets(found: Iterable[Segmentation]) -> list[Target]:
    """Judge whole-tumour Dice with any one sequence filled against all real; where that is zero, so is the ratio."""
    every = {entry.filled: entry.dice["WT"] for entry in found if entry.site == "all"}
    real = every.get(None)
    filled = {sequence: dice for sequence in STRUCTURAL if (dice := every.get(sequence)) is not None}
    worst = min(filled, key=lambda sequence: filled[sequence], default=None)
    detail = f"worst when {worst} is filled; all real {real:.3f}" if worst is not None and real is not None else ""
    return [
        _judge(
            "filled Dice",
            "whole-tumour Dice with any one sequence filled, against all real",
            (filled[worst] / real if real else 0.0) if worst is not None and real is not None else None,
            FILL_RATIO,
            "at least",
            detail or "no patient has labels and all sequences",
        )
    ]


def identification_targets(found: Identification | None) -> list[Target]:
    """Report the AUC, whatever it is, and raise the alarm where it cannot be honest."""
    area = area_of(found.areas, "identifier") if found else None
    latent = area_of(found.areas, "latent") if found else None
    value = area.value if area else None
    parts = [
        f"95 % {area.low:.2f} … {area.high:.2f}" if area and area.low is not None and area.high is not None else ""
    ]
    parts.append(f"ceiling {found.ceiling:.3f}" if found and found.ceiling is not None else "")
    parts.append(f"latent on the same patients {latent.value:.2f}" if latent and latent.value is not None else "")
    parts.append(area.note if area and value is None else "")
    detail = "; ".join(part for part in parts if part)
    text = "AUC of BBB status without gadolinium, beside its ceiling"
    status: Literal["reported", "not measured"] = "not measured" if value is None else "reported"
    targets = [
        Target(name="BBB AUC", text=text, value=value, limit=None, direction="reported", status=status, detail=detail)
    ]
    if found and found.ceiling is not None and area and area.low is not None:
        text = "the AUC's interval does not lie above the ceiling, which would be a leak"
        targets.append(_judge("no leak", text, area.low, found.ceiling, "at most", "lower end of the interval"))
    return targets


def area_of(areas: Iterable[AucFacts], name: str, site: str = "all") -> AucFacts | None:
    """Return the area called `name` at `site`, None where there is none."""
    return next((area for area in areas if area.of == name and area.site == site), None)


def mean_by_pair(entries: Iterable[PairFidelity], method: Method, region: str = "brain") -> dict[Pair, float]:
    """Return per ordered pair the mean over sites of a method's MAE, in grey levels; pairs it lacks are left out."""
    found: dict[Pair, list[float]] = {}
    for entry in entries:
        measure = entry.brain.get(method)
        value = entry.lesion_mae.get(method) if region == "lesion" else measure.mae if measure else None
        if value is not None:
            found.setdefault((entry.source, entry.target), []).append(value)
    return {pair: fmean(values) for pair, values in found.items()}


def _against(entries: tuple[PairFidelity, ...], method: Method, region: str, *, small: bool) -> Target:
    """Compare with a stronger baseline on targets T2 and FLAIR; a demand at scale small, a report otherwise.

    A site where the baseline could not be fitted for a pair is left out of that pair on both sides.
    """
    wanted = [entry for entry in entries if entry.target in (Sequence.T2, Sequence.FLAIR)]
    both = [entry for entry in wanted if mean_by_pair([entry], method, region)]
    drawn, theirs = mean_by_pair(both, "generator", region), mean_by_pair(both, method, region)
    pairs = sorted(drawn.keys() & theirs.keys())
    ratio = fmean(drawn[pair] for pair in pairs) / fmean(theirs[pair] for pair in pairs) if pairs else None
    text = f"MAE for targets T2 and FLAIR in the {region}, against the {method}"
    target = _judge(f"{method}, {region}", text, ratio, 1.0, "at most", _losers(drawn, theirs))
    if small or ratio is None:
        return target
    return target.model_copy(update={"status": "reported", "detail": f"asked for at scale small; {target.detail}"})


def _losers(drawn: dict[Pair, float], theirs: dict[Pair, float]) -> str:
    lost = [
        f"{source} → {target}"
        for source, target in sorted(drawn.keys() & theirs.keys())
        if drawn[source, target] >= theirs[source, target]
    ]
    return f"not better in {', '.join(lost)}" if lost else "better in every pair"


def _share_of_twelve(pairs: int) -> float:
    """Return the demanded number of pairs, three quarters where fewer than twelve could be measured."""
    return float(BETTER_PAIRS) if pairs in (0, 12) else BETTER_PAIRS / 12 * pairs


def _judge(name: str, text: str, value: float | None, limit: float, direction: Direction, detail: str) -> Target:
    status: Literal["met", "missed", "not measured"] = "not measured"
    if value is not None:
        good = value <= limit if direction == "at most" else value >= limit
        status = "met" if good else "missed"
    return Target(name=name, text=text, value=value, limit=limit, direction=direction, status=status, detail=detail)
