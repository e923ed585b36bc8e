"""Who asks for a page, and whether they may: the checks that stand before every route."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from server.console.accounts import Account, Role
from server.console.desk import Desk
from server.console.sessions import Session

HEADER, FIELD = "X-CSRF-Token", "csrf"
PLAIN_COOKIE, SECURE_COOKIE = "gliofed", "__Host-gliofed"
"""A browser takes a `__Host-` cookie over TLS alone, from this very host, for all its paths."""


class NotLoggedInError(Exception):
    """Nobody is logged in who asks; they are shown where to."""


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is logged in."""

    desk: Desk
    session: Session
    account: Account
    token: str

    @property
    def operates(self) -> bool:
        """Whether they may pause, resume and stop."""
        return self.account.role is Role.OPERATOR


def desk_of(request: Request) -> Desk:
    """Return the console that was asked."""
    desk: Desk = request.app.state.desk
    return desk


def cookie_name(desk: Desk) -> str:
    """Return the name of the session's cookie."""
    return SECURE_COOKIE if desk.secure else PLAIN_COOKIE


def refreshes_itself(request: Request) -> bool:
    """Return whether htmx asks, not a person."""
    return request.headers.get("HX-Request") == "true" and request.method == "GET"


def visit(request: Request) -> Visit:
    """Return who asks. Raises NotLoggedInError where nobody is logged in, or the account is gone or changed."""
    desk = desk_of(request)
    token = request.cookies.get(cookie_name(desk), "")
    session = desk.sessions.find(token, by_hand=not refreshes_itself(request))
    if session is None:
        raise NotLoggedInError
    account = desk.account(session.name)
    if account is None or account.password_hash != session.password_hash:
        desk.sessions.end(token)
        raise NotLoggedInError
    return Visit(desk, session, account, token)


async def checked(request: Request, asking: Annotated[Visit, Depends(visit)]) -> Visit:
    """Return who sends a form. Raises HTTPException (403) where it is not one of this session's own pages."""
    refuse_other_origins(request)
    given = request.headers.get(HEADER) or text_of(await request.form(), FIELD)
    if not same(given, asking.session.csrf):
        raise HTTPException(403, "This form is not of your session. Go back, reload the page and send it again.")
    return asking


def operating(asking: Annotated[Visit, Depends(visit)]) -> Visit:
    """Return who asks for what operators do. Raises HTTPException (403) where they are none."""
    if not asking.operates:
        raise HTTPException(403, "Your account may look, not act. Ask an operator.")
    return asking


def refuse_other_origins(request: Request) -> None:
    """Raise HTTPException (403) where a browser says that another site's page sends the form."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "This form was sent from another site's page.")


def same(given: str, wanted: str) -> bool:
    """Compare two secrets without telling by the time taken how far they agree."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def text_of(form: object, field: str) -> str:
    """Return a text field of a form; empty where there is none, or a file."""
    value = form.get(field, "") if hasattr(form, "get") else ""
    return value if isinstance(value, str) else ""


Visiting = Annotated[Visit, Depends(visit)]
Checked = Annotated[Visit, Depends(checked)]
Operating = Annotated[Visit, Depends(operating)]
