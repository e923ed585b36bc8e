"""A check, and how one is made: whatever goes wrong in it, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from client.doctor.finding import Finding, Mark, NotCheckedError, failed
from client.doctor.surroundings import Surroundings
from common.errors import DataError, FederationError, GliofedError, PolicyError, StudyError
from common.logs import logger

log = logger(__name__)

GRAVEST: tuple[type[GliofedError], ...] = (StudyError, PolicyError, FederationError, DataError, GliofedError)
"""Kinds of failure; where several fail, the program ends with the exit code of the first of these."""


@dataclass(frozen=True)
class Check:
    """One question.

    Attributes:
        name: what it is called, on the screen and in reports.
        about: what it looks at, a few words.
        look: answers it.
        error: the kind of error that a failure is, which decides the exit code.
    """

    name: str
    about: str
    look: Callable[[Surroundings], Finding]
    error: type[GliofedError]


@dataclass(frozen=True)
class Topic:
    """Checks of one kind."""

    name: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Result:
    """A check and what it found."""

    topic: str
    check: Check
    finding: Finding


def examine(surroundings: Surroundings, topics: Iterable[Topic], on_check: Callable[[Check], None]) -> list[Result]:
    """Make all checks, in order.

    Args:
        on_check: called before each.
    """
    results = []
    for topic in topics:
        for check in topic.checks:
            on_check(check)
            results.append(Result(topic.name, check, _made(check, surroundings)))
    return results


def exit_code(results: Iterable[Result]) -> int:
    """Return 0 where nothing failed, else the exit code of the gravest kind of failure."""
    kinds = {result.check.error for result in results if result.finding.mark is Mark.FAIL}
    return next((kind.exit_code for kind in GRAVEST if kind in kinds), 0)


def _made(check: Check, surroundings: Surroundings) -> Finding:
    try:
        return check.look(surroundings)
    except NotCheckedError as error:
        return Finding(Mark.SKIP, f"not checked: {error}")
    except GliofedError as error:
        what, _, remedy = str(error).rpartition("; ")
        return failed(error.code, what or str(error), remedy if what else "read what was found, and mend it")
    except Exception as error:
        log.debug("%s", check.name, exc_info=True)
        what = f"the check itself did not work ({type(error).__name__})"
        return failed("unexpected", what, "report it with the version of GlioFed; the other checks hold all the same")
