"""How facts become pages: Jinja2 templates that escape everything, and the words, shapes and units that they show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from common.console import RESEARCH_USE, count
from common.records import OK
from server.console.visits import Visit, desk_of, refreshes_itself
from server.facts import Health, RunFacts, SiteFacts
from server.facts.site_in_run import SiteInRun
from server.result import WITHDRAWN

HERE = Path(__file__).parent
GOOD, NOTICE, BAD, QUIET = "good", "notice", "bad", "quiet"
"""Kinds of badge; each has a shape of its own beside its colour: disc, triangle, diamond, ring."""

HEALTH = {
    Health.OK: GOOD,
    **dict.fromkeys((Health.EXPIRING, Health.NEW, Health.UNKNOWN), NOTICE),
    **dict.fromkeys((Health.SILENT, Health.FAILING, Health.EXPIRED), BAD),
    Health.REVOKED: QUIET,
}
RUN = {
    **dict.fromkeys(("running", "complete"), GOOD),
    **dict.fromkeys(("paused", "stopping"), NOTICE),
    **dict.fromkeys(("interrupted", "incomplete", "failed", "damaged"), BAD),
}
STEPS = ("B", "kB", "MB", "GB", "TB")


def render(request: Request, page: str, asking: Visit | None, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; to htmx only the part of it that refreshes itself."""
    desk = desk_of(request)
    frame = "fragment.html" if refreshes_itself(request) else "frame.html"
    text = _environment().get_template(page).render(
        frame=frame,
        consortium=desk.consortium.settings.name,
        asking=asking,
        path=request.url.path,
        links=desk.links,
        now=datetime.now(UTC),
        research_use=RESEARCH_USE,
        **values,
    )  # fmt: skip
    return HTMLResponse(text, status)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (when, ago, size, duration, figure, short, listed, commands)
    environment.filters.update({each.__name__: each for each in filters} | {"many": count})
    environment.tests.update(unwell=is_unwell)
    environment.globals.update(health_kind=HEALTH.__getitem__, run_kind=run_kind, site_kind=site_kind)
    return environment


def run_kind(run: RunFacts) -> str:
    """Return the kind of badge of a run's state."""
    return RUN.get(run.state, QUIET)


def site_kind(site: SiteInRun) -> str:
    """Return the kind of badge of a site's state in a run."""
    if site.is_failing:
        return BAD
    return GOOD if site.state == OK else NOTICE if site.state == WITHDRAWN else QUIET


def is_unwell(site: SiteFacts) -> bool:
    """Return whether somebody should do something about a site."""
    return HEALTH[site.health] in (BAD, NOTICE)


def when(moment: datetime) -> str:
    """Return a moment in UTC, to the minute."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, in its largest unit."""
    seconds = max(0.0, (now - moment).total_seconds())
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Return a time in the unit in which a person would say it."""
    for unit, length in (("day", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            number = round(seconds / length)
            return count(number, unit) if unit == "day" else f"{number} {unit}"
    return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"


def size(number: float) -> str:
    """Return a number of bytes with three digits, in thousands."""
    step = 0
    while number >= 1000 and step < len(STEPS) - 1:
        number, step = number / 1000, step + 1
    return f"{number:.0f} {STEPS[step]}" if step == 0 or number >= 100 else f"{number:.1f} {STEPS[step]}"


def figure(value: float | None) -> str:
    """Return a figure with three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def short(digest: str | None) -> str:
    """Return the beginning of a digest, as people read it to each other."""
    return "–" if digest is None else digest[:12]


def commands(text: str) -> Markup:
    """Return a sentence with what stands between backticks set as a command; all else is escaped."""
    set_as = (escape, Markup("<code>{}</code>").format)
    return Markup("").join(set_as[number % 2](part) for number, part in enumerate(text.split("`")))


def listed(words: Iterable[str]) -> str:
    """Return words in a row; `none` where there are none."""
    return ", ".join(words) or "none"
