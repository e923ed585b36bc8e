"""A run that was stopped, as the site knows it: no task of it is taken any more, and nothing is kept for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.errors import PolicyError
from common.files import write_whole

MARKER = "stopped"


class StoppedError(PolicyError):
    """The run was stopped, by its coordinator or at this site."""

    code = "stopped"


def state_folder(workdir: Path, run: str) -> Path:
    """Return the folder in which a site keeps what a run needs again."""
    return workdir / "state" / run


def stop_run(workdir: Path, run: str) -> None:
    """Refuse the run from now on and forget what was kept for it; a round that is at work ends at its next step."""
    folder = state_folder(workdir, run)
    write_whole(folder / MARKER, b"")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def refuse_if_stopped(workdir: Path, run: str) -> None:
    """Raise StoppedError where the run was stopped at this site."""
    if (state_folder(workdir, run) / MARKER).exists():
        raise StoppedError(f"run {run} was stopped at this site; begin a new run")
