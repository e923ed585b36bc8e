"""The findings as a person reads them: a line each, the remedy below what is not well, words beside colours."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from client.doctor.check import Result
from client.doctor.finding import Mark
from client.doctor.report import counts
from common.console import count

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

GLYPHS = {Mark.PASS: ("✓", "green"), Mark.WARN: ("▲", "yellow"), Mark.FAIL: ("✗", "bold red"), Mark.SKIP: ("·", "dim")}
PLAIN = {Mark.PASS: "+", Mark.WARN: "!", Mark.FAIL: "x", Mark.SKIP: "-"}
"""Glyphs for terminals that know nothing but ASCII."""
NAMES = 18
NARROW = 72
"""Columns below which the words of a finding stand under its name, not beside it."""


def table(results: Iterable[Result], width: int, ascii_only: bool) -> RenderableType:
    """Return the findings by topic, for a screen of `width` columns."""
    from rich.console import Group
    from rich.text import Text

    rows = _below if width < NARROW else _beside
    parts: list[RenderableType] = []
    for topic, members in groupby(results, key=lambda result: result.topic):
        parts += [Text(topic, style="bold underline"), *rows(members, ascii_only), Text("")]
    return Group(*parts)


def _beside(results: Iterable[Result], ascii_only: bool) -> Iterable[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=6, no_wrap=True)
    grid.add_column(width=NAMES, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for result in results:
        grid.add_row(_mark(result.finding.mark, ascii_only), Text(result.check.name), _said(result, ascii_only))
    return [grid]


def _below(results: Iterable[Result], ascii_only: bool) -> Iterable[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    for result in results:
        yield Text.assemble(_mark(result.finding.mark, ascii_only), f" {result.check.name}")
        yield Padding(_said(result, ascii_only), (0, 0, 0, 2))


def summary(results: list[Result]) -> str:
    """Return how many checks there were and how many of each mark, and the names of those that failed."""
    found = counts(results)
    said = f"{count(len(results), 'check')}: " + ", ".join(f"{found[mark]} {mark.value}" for mark in Mark)
    broken = [result.check.name for result in results if result.finding.mark is Mark.FAIL]
    return f"{said}\nmend first: {', '.join(broken)}" if broken else said


def _mark(mark: Mark, ascii_only: bool) -> Text:
    from rich.text import Text

    glyph, style = GLYPHS[mark]
    return Text(f"{PLAIN[mark] if ascii_only else glyph} {mark.value}", style)


def _said(result: Result, ascii_only: bool) -> Text:
    from rich.text import Text

    finding = result.finding
    text = Text(finding.what, "dim" if finding.mark is Mark.SKIP else "")
    if finding.remedy and finding.mark in (Mark.WARN, Mark.FAIL):
        text.append(f"\n{'->' if ascii_only else '→'} {finding.remedy}", "cyan")
    return text
