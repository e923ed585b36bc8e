"""What a round leaves behind beside its tensors, and what later rounds read off it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common.records import BUDGET_EXHAUSTED
from server.round.one_round import OneRound
from server.round.outcome import Outcome


def record_of(one: OneRound, outcome: Outcome, sat_out: set[str]) -> dict[str, Any]:
    """Return the record of a round."""
    return {
        "schema_version": 1,
        "run": one.journal.run,
        "stage": one.model.stage.value,
        "round": one.number,
        "rounds": one.model.settings.rounds,
        "steps": one.model.settings.local_steps,
        "sites": {site: outcome.sites[site] for site in sorted(outcome.sites)},
        "metrics": mean_metrics(outcome.sites),
        "sat_out": sorted(sat_out),
    }


def mean_metrics(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return each metric's mean over the sites that sent it, weighted by the patients that it trained on."""
    sums: dict[str, list[tuple[int, float]]] = {}
    for site in sorted(sites):
        for name, value in sites[site].get("metrics", {}).items():
            sums.setdefault(name, []).append((max(sites[site]["patients"].values()), value))
    return {
        name: sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts)
        for name, parts in sorted(sums.items())
    }


def exhausted(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the sites that said in a stage's rounds that they have no privacy left to spend on it."""
    entries = (entry for record in records for entry in record["sites"].items())
    return {site for site, entry in entries if entry["code"] == BUDGET_EXHAUSTED}
