"""Logging in and out.

A name that does not exist is answered with the same words, after the same work, as a wrong password.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from common.logs import logger
from server.console.actions import What
from server.console.desk import Desk
from server.console.pages import render
from server.console.passwords import is_right
from server.console.sessions import ABSOLUTE_S
from server.console.visits import (
    FIELD,
    Checked,
    cookie_name,
    desk_of,
    refuse_other_origins,
    same,
    text_of,
)

log = logger(__name__)
router = APIRouter()
WRONG = "Name or password is wrong."


@router.get("/login")
def form(request: Request) -> Response:
    """Show the form to somebody who is not logged in."""
    desk = desk_of(request)
    if desk.sessions.find(request.cookies.get(cookie_name(desk)), by_hand=False) is not None:
        return RedirectResponse("/", 303)
    return _form(request)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Begin a session under a new token, whatever the browser brought along."""
    refuse_other_origins(request)
    desk, given = desk_of(request), await request.form(max_fields=8, max_files=0)
    nonce = request.cookies.get(_nonce_cookie(desk), "")
    if not nonce or not same(text_of(given, FIELD), _proof(desk, nonce)):
        return _form(request, 403, "This form is too old. Here is a new one.")
    name, password = text_of(given, "name").strip().lower(), text_of(given, "password")
    return await run_in_threadpool(_enter, request, desk, name, password)


@router.post("/logout")
def log_out(request: Request, asking: Checked) -> Response:
    """End the session, on the server too."""
    desk = asking.desk
    desk.sessions.end(asking.token)
    desk.actions.note(asking.account.name, What.LOG_OUT)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(desk), secure=desk.secure, httponly=True, samesite="strict")
    return answer


def _enter(request: Request, desk: Desk, name: str, password: str) -> Response:
    address = request.client.host if request.client is not None else "unknown"
    wait_s = desk.limits.begin(name, address)
    if wait_s:
        log.warning("log-in from %s refused for %d s: too many failures", address, wait_s)
        answer: Response = _form(request, 429, f"Too many failures. Try again in {wait_s} s.")
        answer.headers["Retry-After"] = str(wait_s)
        return answer
    account = desk.account(name)
    if not is_right(password, None if account is None else account.password_hash) or account is None:
        log.warning("log-in from %s failed", address)
        return _form(request, 401, WRONG)
    desk.limits.succeeded(name, address)
    desk.actions.note(account.name, What.LOG_IN)
    desk.sessions.end(request.cookies.get(cookie_name(desk), ""))
    answer = RedirectResponse("/", 303)
    _set(answer, desk, cookie_name(desk), desk.sessions.begin(account), int(ABSOLUTE_S))
    answer.delete_cookie(_nonce_cookie(desk), secure=desk.secure, httponly=True, samesite="strict")
    return answer


def _form(request: Request, status: int = 200, problem: str = "") -> HTMLResponse:
    """Return the form with a proof that only this browser can send back: nobody is logged in as somebody else."""
    desk, nonce = desk_of(request), secrets.token_urlsafe(32)
    answer = render(request, "login.html", None, status, csrf=_proof(desk, nonce), problem=problem)
    _set(answer, desk, _nonce_cookie(desk), nonce, None)
    return answer


def _proof(desk: Desk, nonce: str) -> str:
    return hmac.new(desk.secret, nonce.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _nonce_cookie(desk: Desk) -> str:
    return f"{cookie_name(desk)}-login"


def _set(answer: Response, desk: Desk, name: str, value: str, seconds: int | None) -> None:
    answer.set_cookie(name, value, max_age=seconds, secure=desk.secure, httponly=True, samesite="strict", path="/")
