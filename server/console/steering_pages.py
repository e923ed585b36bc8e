"""What operators ask of a run: a page that asks back, and the form on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from common.errors import GliofedError
from common.logs import logger
from server.console.actions import What
from server.console.pages import render
from server.console.screens import may, run_named
from server.console.visits import Checked, Operating, Visit, text_of
from server.facts import RunFacts
from server.operation import steering

log = logger(__name__)
router = APIRouter()
REFUSED = "The run did not take it. The console's log on the server says why."
WHATS = {what.value: what for what in (What.PAUSE, What.RESUME, What.STOP)}


def asked(what: str) -> What:
    """Return what is asked. Raises HTTPException (404) where it is nothing that can be."""
    if what not in WHATS:
        raise HTTPException(404, "There is no such page.")
    return WHATS[what]


Asked = Annotated[What, Depends(asked)]


@router.get("/runs/{name}/{what}")
def ask_back(request: Request, name: str, what: Asked, asking: Operating) -> HTMLResponse:
    """Show what will happen, with a button that does it."""
    return _page(request, asking, run_named(asking, name), what)


@router.post("/runs/{name}/{what}")
async def do(request: Request, name: str, what: Asked, asking: Operating, checked: Checked) -> Response:
    """Ask it of the run, and go back to its page."""
    typed = text_of(await request.form(), "typed")
    return await run_in_threadpool(_do, request, asking, name, what, typed)


def _do(request: Request, asking: Visit, name: str, what: What, typed: str) -> Response:
    run = run_named(asking, name)
    if what is What.STOP and typed.strip() != run.name:
        return _page(request, asking, run, what, 422, "That is not the run's name; nothing was stopped.")
    if what not in may(run):
        return _page(request, asking, run, what, 409, f"The run is {run.state}; nothing was asked of it.")
    desk, who = asking.desk, asking.account.name
    desk.actions.note(who, what, run.name)
    try:
        _steer(what, asking, run)
    except GliofedError as error:
        log.warning("%s of %s refused: %s", what, run.name, error)
        desk.actions.note(who, what, run.name, refused=error.code)
        return _page(request, asking, run, what, 409, REFUSED)
    finally:
        desk.forget()
    return RedirectResponse(f"/runs/{quote(run.name, safe='')}", 303)


def _steer(what: What, asking: Visit, run: RunFacts) -> None:
    out = asking.desk.consortium.run(run.name)
    if what is What.PAUSE:
        steering.pause(out)
    elif what is What.STOP:
        steering.stop(out)
    else:
        steering.resume(out, None, Path())


def _page(
    request: Request, asking: Visit, run: RunFacts, what: What, status: int = 200, problem: str = ""
) -> HTMLResponse:
    return render(
        request, "confirm.html", asking, status, run=run, what=what.value, problem=problem, possible=what in may(run)
    )
