"""The pages that show: overview, sites, runs, releases. They change nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import HTMLResponse

from server.console.actions import Action
from server.console.pages import BAD, NOTICE, RUN, render
from server.console.visits import Visit, Visiting
from server.facts import RunFacts

router = APIRouter()
LONG_AGO = timedelta(days=7)
SHOWN = 12
"""Alarms and faults of a run that a page lists, the latest first."""


@router.get("/")
def overview(request: Request, asking: Visiting) -> HTMLResponse:
    """What goes on, and what somebody should look at."""
    sites, runs = asking.desk.sites(), asking.desk.runs()
    return render(
        request,
        "overview.html",
        asking,
        sites=sites,
        live=[run for run in runs if not run.over],
        alarmed=any(site.alarmed for run in runs if not run.over for site in run.sites),
        over=[run for run in runs if run.over][:3],
        wrong=sorted(filter(_is_wrong, runs), key=lambda run: RUN[run.state] != BAD),
    )


@router.get("/sites")
def sites(request: Request, asking: Visiting) -> HTMLResponse:
    """How every site is."""
    return render(request, "sites.html", asking, sites=asking.desk.sites())


@router.get("/runs")
def runs(request: Request, asking: Visiting) -> HTMLResponse:
    """All runs, those that go on first."""
    return render(request, "runs.html", asking, runs=asking.desk.runs())


@router.get("/runs/{name}")
def run(request: Request, name: str, asking: Visiting) -> HTMLResponse:
    """One run, as it goes on."""
    facts = run_named(asking, name)
    done: list[Action] = asking.desk.actions.of_run(facts.name)
    return render(
        request,
        "run.html",
        asking,
        run=facts,
        alarms=facts.alarms[:SHOWN],
        faults=facts.faults[:SHOWN],
        done=done,
        may=may(facts),
    )


@router.get("/releases")
def releases(request: Request, asking: Visiting) -> HTMLResponse:
    """What was handed out."""
    return render(request, "releases.html", asking, releases=asking.desk.releases())


def _is_wrong(run: RunFacts) -> bool:
    """Return whether somebody should look at a run; at one that ended long ago nobody need."""
    if run.over and run.changed is not None and datetime.now(UTC) - run.changed > LONG_AGO:
        return False
    return RUN.get(run.state) in (BAD, NOTICE)


def run_named(asking: Visit, name: str) -> RunFacts:
    """Return the facts of a run. Raises HTTPException (404) where there is none of that name."""
    facts = asking.desk.run(name)
    if facts is None:
        raise HTTPException(404, "There is no run of that name.")
    return facts


def may(run: RunFacts) -> list[str]:
    """Return what can be asked of a run as it stands."""
    if run.state in ("running", "paused"):
        return ["resume" if run.state == "paused" else "pause", "stop"]
    return ["resume", "stop"] if run.state == "interrupted" else []
