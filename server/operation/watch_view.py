"""The picture of a run that a terminal shows: progress, sites with the worst first, alarms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from common import console
from server.facts import RunFacts
from server.facts.site_facts import EXPIRES_SOON_DAYS
from server.operation.watching import certificates, headline

if TYPE_CHECKING:
    from rich.console import RenderableType

ALARMS = 5
COLOURS = {"ok": "green", "waiting": "cyan", "not-asked": "bright_black"}


def follow(changes: Iterable[RunFacts]) -> RunFacts:
    """Show each change in place of the one before, and return the last. There must be one."""
    from rich.console import Console
    from rich.live import Live

    last: RunFacts | None = None
    with Live(console=Console(), auto_refresh=False) as live:
        for last in changes:
            live.update(picture(last), refresh=True)
    assert last is not None, "a watch tells at least where the run stands"  # noqa: S101
    return last


def picture(facts: RunFacts) -> RenderableType:
    """Return what is shown of a run."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"{facts.name} · study {facts.study or '-'}", style="bold")]
    parts.append(Text(headline(facts)))
    if facts.certificate_days is not None:
        style = "red" if facts.certificate_days < EXPIRES_SOON_DAYS else ""
        parts.append(Text(certificates(facts.certificate_days, facts.certificate or "server"), style=style))
    if facts.of:
        parts.append(ProgressBar(total=facts.of, completed=facts.done, width=60))
    table = Table(header_style="bold")
    for column in ("site", "state", "rounds", "faults", "alarms", "seconds", "up", "down"):
        table.add_column(column)
    for site in facts.sites:
        state = Text(site.state, style=COLOURS.get(site.state, "red" if site.is_failing else "yellow"))
        counts = [str(site.rounds), str(site.faults), str(site.alarms)]
        seconds = "-" if site.seconds is None else f"{site.seconds:.1f}"
        sent = [f"{count / 1e6:.1f} MB" for count in (site.bytes_up, site.bytes_down)]
        table.add_row(Text(site.site), state, *counts, seconds, *sent)
    if facts.sites:
        parts.append(table)
    parts += [Text(said, style="yellow") for said in facts.unapproved]
    for alarm in facts.alarms[:ALARMS]:
        said = f"alarm: {alarm.kind} of {alarm.site}, {alarm.stage} {alarm.round}: {alarm.value:.3g}"
        parts.append(Text(said, style="red"))
    if len(facts.alarms) > ALARMS:
        parts.append(Text(f"and {console.count(len(facts.alarms) - ALARMS, 'earlier alarm')}"))
    return Group(*parts)
