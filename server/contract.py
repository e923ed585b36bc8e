"""The participation contract, as it was kept: who is registered, who was configured, who contributed to what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.records import OK
from common.settings.stages import Stage
from server.journal import Journal


@dataclass(frozen=True)
class StageContract:
    """One stage: the sites that were asked in some round, that contributed to some, and that had nothing to learn."""

    asked: tuple[str, ...]
    contributed: tuple[str, ...]
    sat_out: tuple[str, ...]


@dataclass(frozen=True)
class Contract:
    """A run's sites, sorted.

    Attributes:
        registered: on the roster.
        configured: named by the study.
        planned: in the frozen plan; empty before it.
        withdrawn: withdrawn as a whole.
        stages: by stage, those with a round that counts.
    """

    registered: tuple[str, ...]
    configured: tuple[str, ...]
    planned: tuple[str, ...]
    withdrawn: tuple[str, ...]
    stages: dict[Stage, StageContract]


def contract_of(journal: Journal) -> Contract:
    """Return the contract as the journal's rounds tell it."""
    planned = tuple(entry.site for entry in journal.plan().inventory) if journal.planned else ()
    kept = {stage: _stage_contract(records) for stage in Stage if (records := journal.records(stage))}
    configured, withdrawn = sorted(journal.study.sites), sorted(journal.requests.withdrawn_sites())
    return Contract(journal.registered, tuple(configured), planned, tuple(withdrawn), kept)


def _stage_contract(records: list[dict[str, Any]]) -> StageContract:
    entries = [(site, entry["code"]) for record in records for site, entry in record["sites"].items()]
    contributed = {site for site, code in entries if code == OK}
    asked = {site for site, _ in entries}
    return StageContract(tuple(sorted(asked)), tuple(sorted(contributed)), tuple(records[-1]["sat_out"]))
