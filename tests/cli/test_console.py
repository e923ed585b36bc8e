"""Errors that a user can meet end in one line and a documented status, whatever raised them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import click
import pytest
import typer
from rich.console import Group
from rich.text import Text

from common.console import complain, new_app, print_line, print_rich, print_table, progress, run, stages, warn
from common.errors import DataError, FederationError, PolicyError, ReleaseError, StudyError
from common.logs import configure, logger

FORGED = "a\x1b[8A\x9b2Kb\u202ec\rd\u2066"
ESCAPED = r"a\x1b[8A\x9b2Kb\u202ec\rd\u2066"


def failing(error: BaseException) -> typer.Typer:
    app = new_app("A program.", "program verb")

    @app.command()
    def verb() -> NoReturn:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (StudyError("a typo"), 2, "error: a typo"),
        (DataError("a bad scan"), 3, "error: a bad scan"),
        (ReleaseError("a flipped byte"), 4, "error: a flipped byte"),
        (PolicyError("not allowed"), 5, "error: not allowed"),
        (FederationError("no quorum"), 6, "error: no quorum"),
        (OSError(errno.ENOSPC, "No space left on device", "/cache/x"), 3, "error: /cache/x: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/scans"), 3, "error: /scans: Permission denied"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (click.Abort(), 130, "error: interrupted"),
        (click.UsageError("what?"), 2, "error: what?; see program verb --help"),
    ],
)
def test_each_error_has_one_line_and_its_status(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), "program", ["verb"]) == status
    err = capsys.readouterr().err
    assert err.startswith(words)
    assert err.count("\n") == 1


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(failing(ZeroDivisionError()), "program", ["verb"])


def test_a_chosen_status_is_returned() -> None:
    assert run(failing(typer.Exit(3)), "program", ["verb"]) == 3


def test_tables_take_brackets_as_text_and_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a/long/path/" * 8
    print_table("Title [1]", ["case"], [["[bold]x"], [path]])
    out = capsys.readouterr().out
    assert all(text in out for text in ("Title [1]", "[bold]x", path))


def test_nothing_that_is_shown_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(FORGED, ["fact"], [[f"{FORGED}\nü β 脑"]])
    print_line(f"{FORGED}\nü β 脑")
    out = capsys.readouterr().out
    assert out.count(ESCAPED) == 3 and out.count("ü β 脑") == 2
    assert all(each.isprintable() or each == "\n" for each in out)


@pytest.mark.parametrize(
    "tell", [partial(complain, status=2), warn, lambda said: run(failing(StudyError(said)), "p", ["verb"])]
)
def test_nothing_on_stderr_steers_the_terminal(tell: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    tell(f"{FORGED}\udcff:\n\t[red]as it is[/red]")
    err = capsys.readouterr().err
    assert err.endswith(f": {ESCAPED}\\udcff:\n\t[red]as it is[/red]\n")


def test_what_rich_lays_out_is_shown_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    print_rich(lambda out: Group(Text(f"{FORGED} [red]brackets[/red]"), Text("below", style="bold")))
    shown = ESCAPED.replace(r"\r", "")  # that one rich strips by itself
    assert capsys.readouterr().out == f"{shown} [red]brackets[/red]\nbelow\n"


def test_a_progress_bar_takes_foreign_words_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(f"[red]cooking{FORGED}") as advance:
        advance(1, 1)
    with stages("looking") as show:
        show(f"[blue]{FORGED}", 1, 1)
    err = capsys.readouterr().err
    assert f"[red]cooking{ESCAPED}" in err
    assert "\x1b[8A" not in err and "\u202e" not in err


def test_a_log_line_for_people_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    try:
        logger("tests").info("%s", FORGED)
    finally:
        configure()
    assert capsys.readouterr().err.endswith(f"gliofed.tests: {ESCAPED}\n")


def test_a_progress_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("cooking") as advance:
        advance(2, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cooking" in captured.err and "2/2" in captured.err
