"""The verb `prepare`: scans brought to the study's grid, once, into the cache that training and completion read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from client.commands.place import FolderArgument, JsonOption, SiteOption, WorkersOption, place_of
from common import console
from common.errors import DataError, StudyError

if TYPE_CHECKING:
    from client.config import SiteConfig

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-client`."""
    line = f"{PROGRAM} prepare ./scans --study study.toml --cache ./cache --workers 4"
    app.command(epilog=console.epilog(line))(prepare)


def prepare(
    folder: FolderArgument = None,
    cache: Annotated[Path | None, typer.Option(show_default=False, help="Cache folder; default: the site's.")] = None,
    study: Annotated[Path | None, typer.Option(show_default=False, help="study.toml, for its voxel grid.")] = None,
    site: SiteOption = None,
    register: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(help="Align sequences; auto trusts one grid of stripped scans."),
    ] = "auto",
    n4: Annotated[bool, typer.Option("--n4/--no-n4", help="Correct the bias field.")] = True,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Bring every case to the study's grid and cache its slices.

    Orientation, bias field, registration, brain extraction, grey normalisation. A second run does nothing; after an
    interruption the same command goes on. Exits with 3 where a case could not be prepared; the others are.
    """
    place, config = place_of(folder, site)
    target = _cache_folder(cache, place, config)

    from client.data.catalog import scan_folder
    from client.data.preprocessing import PrepareSettings, prepare_cases
    from common.study import load_study

    settings = PrepareSettings() if study is None else PrepareSettings.of(load_study(study))
    settings = settings.model_copy(update={"n4": n4, "register_sequences": register})
    cases = list(scan_folder(place, config).cases)
    with console.progress("preparing cases") as advance:
        outcome = prepare_cases(cases, settings, target, workers=workers, on_case=advance)
    if as_json:
        prepared = {case.case: str(case.path) for case in outcome.cases}
        console.print_json({"cache": str(target), "prepared": prepared, "failures": dict(outcome.failures)})
    else:
        for case, reason in sorted(outcome.failures.items()):
            console.print_line(f"ERROR {case}: {reason}")
        console.print_line(f"{len(outcome.cases)} of {len(cases)} cases prepared in {target}")
    if outcome.failures:
        raise typer.Exit(DataError.exit_code)


def _cache_folder(cache: Path | None, place: Path, config: SiteConfig | None) -> Path:
    """Return where `prepare` writes. Raises StudyError where nothing says so, or the scans lie there."""
    target = cache or (config.workdir / "cache" if config is not None else None)
    if target is None:
        raise StudyError("no cache folder; give --cache DIR, or a site.toml with --site")
    if target.resolve().is_relative_to(place.resolve()):
        raise StudyError(f"{target}: lies inside the scans, which are never written to; choose a folder beside them")
    return target
