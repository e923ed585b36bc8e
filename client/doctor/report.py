"""What is told of the findings: all of it to the site's own people, codes and figures alone to anybody else."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from client.doctor.check import Result
from client.doctor.finding import Mark
from client.doctor.surroundings import Surroundings
from common.errors import GliofedError
from common.study import code_version

SCHEMA_VERSION = 1
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def counts(results: Iterable[Result]) -> dict[str, int]:
    """Return how many checks ended with each mark."""
    found = Counter(result.finding.mark for result in results)
    return {mark.value: found[mark] for mark in Mark}


def in_full(results: list[Result]) -> dict[str, Any]:
    """Return everything, ready for JSON, for machines at the site: it may name paths and cases."""
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": counts(results),
        "checks": [
            {
                "check": result.check.name,
                "topic": result.topic,
                "mark": result.finding.mark.value,
                "what": result.finding.what,
                "remedy": result.finding.remedy,
                "code": result.finding.code,
                "figures": dict(result.finding.figures),
            }
            for result in results
        ],
    }


def redacted(results: list[Result], around: Surroundings) -> str:
    """Return a report to share with the coordinator, JSON: no path, no name, no text of the site's, by construction.

    Of each finding only its code and its numbers are taken, and of the surroundings the version and the day.
    """
    report = {
        "schema_version": SCHEMA_VERSION,
        "about": "redacted report of gliofed-client doctor: codes and counts, no text of the site's",
        "gliofed": code_version(),
        "site": _site_name(around),
        "day": f"{around.now():%Y-%m-%d}",
        "counts": counts(results),
        "checks": [
            {
                "check": result.check.name,
                "mark": result.finding.mark.value,
                "code": _word(result.finding.code),
                "figures": {_word(name): float(value) for name, value in result.finding.figures.items()},
            }
            for result in results
        ],
    }
    return json.dumps(report, indent=2, sort_keys=True) + "\n"


def _word(text: str) -> str:
    return text if not text or WORD.fullmatch(text) else "withheld"


def _site_name(around: Surroundings) -> str | None:
    """Return the name under which the consortium knows the site; None where site.toml cannot be read."""
    try:
        return around.site.config.name
    except GliofedError:
        return None
