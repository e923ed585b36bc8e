"""How all three programs speak: results on stdout, progress and problems on stderr, one exit code a kind of error."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import typer

from common import __version__
from common.errors import DataError, GliofedError
from common.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

RESEARCH_USE = "Research use only: not a medical device, no basis for a diagnosis or a treatment."
EXIT_CODES = (
    "Exit codes: 0 done, 2 usage or study, 3 data, 4 release, 5 policy, 6 incomplete, 7 failed, 130 interrupted."
)
INTERRUPTED = 130
PLAIN_WIDTH = 200
"""Columns of a table that is piped, where there is no terminal to ask: wide enough that no path is cut."""


class PlainFormatter(click.HelpFormatter):
    """Help without the backslashes that typer puts before brackets for rich."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and their explanations."""
        super().write_dl([(term, text.replace("\\[", "[")) for term, text in rows], col_max, col_spacing)


class PlainContext(click.Context):
    """A context that formats plainly."""

    formatter_class = PlainFormatter


def epilog(example: str) -> str:
    """Return the end of a `--help`: limits of use, exit codes, and a line to paste, which `\\b` keeps whole."""
    return f"{RESEARCH_USE}\n\n{EXIT_CODES}\n\n\b\nExample:\n  {example}"


def new_app(about: str, example: str) -> typer.Typer:
    """Return an empty program whose verbs are added with `@app.command(epilog=epilog(…))`."""
    app = typer.Typer(
        help=about,
        epilog=epilog(example),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # boxes would wrap the example, which then could not be pasted
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", callback=_print_version, is_eager=True, help="Print and exit."
        ),
    ) -> None:
        pass

    return app


def run(app: typer.Typer, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run `app` and return its exit status; every error that a user can meet becomes text on stderr, never a traceback.

    Args:
        app: the program.
        program: its name in usage lines.
        arguments: the command line without the program's name; None reads `sys.argv`.
    """
    command = _plain(typer.main.get_command(app))
    try:
        status = command.main(None if arguments is None else list(arguments), program, standalone_mode=False)
        status = status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return complain(_usage_line(error, program), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        status = INTERRUPTED
    except GliofedError as error:
        return complain(str(error), error.exit_code)
    except OSError as error:
        return complain(_os_line(error), DataError.exit_code)
    if status == INTERRUPTED:
        return complain("interrupted; run the same command again to go on", INTERRUPTED)
    return status


def complain(message: str, status: int) -> int:
    """Write `error: message` to stderr and return `status`; nothing in it steers a terminal."""
    typer.echo(f"error: {printable(message)}", err=True)
    return status


def warn(message: str) -> None:
    """Write `warning: message` to stderr; the program goes on, and nothing in it steers a terminal."""
    typer.echo(f"warning: {printable(message)}", err=True)


def print_json(value: Any) -> None:
    """Write `value` to stdout as indented JSON with sorted keys."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to stdout; cells are plain text: brackets in them are no markup, and nothing steers a terminal."""
    from rich.table import Table
    from rich.text import Text

    typer.echo(printable(title))
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _stdout().print(table)


def count(number: int, thing: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def print_line(text: str) -> None:
    """Write one line of result to stdout; nothing in it steers a terminal."""
    typer.echo(printable(text))


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with time left on stderr; the yielded listener takes (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("left"), console=Console(stderr=True)) as bar:
        task = bar.add_task(printable(description), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stages(description: str) -> Iterator[Callable[[str | None, int | None, int | None], None]]:
    """Show on stderr what is being done now; the yielded listener takes (what or None for the same, done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)

        def show(what: str | None, done: int | None, total: int | None) -> None:
            if what is not None:
                bar.reset(task, total=None, description=printable(what))
            bar.update(task, completed=done, total=total)

        yield show


def print_rich(made: Callable[[ConsoleOptions], RenderableType]) -> None:
    """Write what `made` returns to stdout; it is told how wide that is, and whether it shows nothing but ASCII.

    What was laid out is made printable piece by piece, since rich itself lets escapes through.
    """
    from rich.segment import Segment, Segments

    out = _stdout()
    laid_out = out.render(made(out.options))
    out.print(Segments(Segment(printable(text), style, control) for text, style, control in laid_out))


def _plain(command: click.Command) -> click.Command:
    """Let a command and all its verbs format plainly."""
    command.context_class = PlainContext
    for verb in getattr(command, "commands", {}).values():
        _plain(verb)
    return command


def _stdout() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gliofed {__version__}")
        raise typer.Exit


def _usage_line(error: click.ClickException, program: str) -> str:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else program
    return f"{error.format_message().rstrip('.')}; see {where} --help"


def _os_line(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full; free space or choose another folder, then run the same command again"
    return f"{where}{error.strerror or type(error).__name__}; correct the path or its permissions and run again"
