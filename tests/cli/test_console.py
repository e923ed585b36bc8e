"""Errors that a user can meet end in one line and a documented status, whatever raised them."""

from __future__ import annotations

import errno
from typing import NoReturn

import click
import pytest
import typer

from common.console import new_app, print_line, print_table, progress, run
from common.errors import DataError, FederationError, PolicyError, ReleaseError, StudyError


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
    forged = "a\x1b[8A\x9b2Kb\u202ec\rd\u2066"
    print_table(forged, ["fact"], [[f"{forged}\nü β 脑"]])
    print_line(f"{forged}\nü β 脑")
    out = capsys.readouterr().out
    assert out.count("a?[8A?2Kb?c?d?") == 3 and out.count("ü β 脑") == 2
    assert all(each.isprintable() or each == "\n" for each in out)


def test_a_progress_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("cooking") as advance:
        advance(2, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cooking" in captured.err and "2/2" in captured.err
