"""The console as an ASGI application: routes, files, and what is said where something goes wrong."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI, HTTPException, Request
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import RedirectResponse, Response

from common.errors import GliofedError
from common.logs import logger
from server.console import log_in, screens, steering_pages
from server.console.desk import Desk
from server.console.doorkeeper import Doorkeeper
from server.console.htmx import htmx_script
from server.console.pages import HERE, render
from server.console.visits import NotLoggedInError

log = logger(__name__)
FILES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
DAY = "private, max-age=86400"


def make_app(desk: Desk, hosts: Iterable[str]) -> FastAPI:
    """Return the console.

    Args:
        hosts: names under which it may be asked for.
    Raises:
        GliofedError: where htmx is not installed.
    """
    app = FastAPI(title="GlioFed console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    for part in (log_in, screens, steering_pages):
        app.include_router(part.router)
    _add_files(app)
    app.add_exception_handler(NotLoggedInError, _to_log_in)
    app.add_exception_handler(AnyHTTPException, _say)
    app.add_exception_handler(GliofedError, _cannot_be_read)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Doorkeeper, hosts=tuple(hosts), secure=desk.secure)
    return app


def _add_files(app: FastAPI) -> None:
    files = {name: ((HERE / "static" / name).read_bytes(), kind) for name, kind in FILES.items()}
    files["htmx.js"] = (htmx_script(), "text/javascript")

    @app.get("/static/{name}")
    def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "There is no such page.")
        blob, kind = files[name]
        return Response(blob, media_type=kind, headers={"Cache-Control": DAY})


def _to_log_in(request: Request, error: Exception) -> Response:
    """Send a person to the form; a page that refreshes itself is told to go there whole."""
    if "HX-Request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    if request.method == "GET":
        return RedirectResponse("/login", 303)
    return render(request, "problem.html", None, 401, title="Not logged in", text="Log in, then try again.")


def _say(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)  # noqa: S101  (registered for these alone)
    status = error.status_code
    ours = isinstance(error, HTTPException) and status in (403, 404)  # raised by our own routes
    text = str(error.detail) if ours else WORDS.get(status, "That cannot be done.")
    return render(request, "problem.html", None, status, title=TITLES.get(status, "Refused"), text=text)


def _cannot_be_read(request: Request, error: Exception) -> Response:
    """Say that something of the consortium cannot be read; what and where is for the log alone."""
    log.error("%s: %s", request.url.path, error)
    text = "Something in the consortium's folder cannot be read or written. The console's log on the server says what."
    return render(request, "problem.html", None, 503, title="Not available", text=text)


def _failed(request: Request, error: Exception) -> Response:
    text = "The console met an error of its own. Its log on the server says which."
    return render(request, "problem.html", None, 500, title="An error", text=text)


TITLES = {403: "Refused", 404: "Not found", 405: "Refused", 400: "Refused"}
WORDS = {404: "There is no such page.", 405: "This page takes no such request.", 400: "The request cannot be read."}
