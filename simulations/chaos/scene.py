"""Three hospitals and a run in one folder, played in a fork of a warm process that may be killed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.app import make_app
from server.events import Event, SiteProgress
from simulations.chaos.arithmetic import BENCH, SEQUENCES, arithmetic_study, build_arithmetic, open_cached, write_site
from simulations.chaos.boundaries import Boundaries
from simulations.federation import run_federation

SITES = ("a", "b", "c")
STUDY = arithmetic_study(SITES)


@dataclass(frozen=True)
class Scene:
    """A folder that holds the hospitals, a run, and what a crash cannot take back: a diary of trainings and points."""

    folder: Path

    @classmethod
    def set_up(cls, folder: Path) -> Scene:
        """Write the hospitals below `folder`."""
        for number, site in enumerate(SITES):  # few domains, for each group is a file at each site
            write_site(folder / "sites" / site, site, sequences=(SEQUENCES[number],), shift=0.01 * number)
        return cls(folder)

    def copy_to(self, folder: Path) -> Scene:
        """Return a copy in `folder`, whatever was there before."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        return Scene(folder)

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    def play(self, resume: bool, boundaries: bool = False, strike_at: int | None = None) -> int:
        """Run the federation in a fork; return its exit status, negative for the signal that ended it.

        Args:
            resume: go on with the run that is there.
            boundaries: count the crash points.
            strike_at: number of the point at which the fork dies.
        """
        return in_fork(lambda: self._play(resume, boundaries, strike_at), self.folder / "fork.log")

    def _play(self, resume: bool, boundaries: bool, strike_at: int | None) -> None:
        self.run.mkdir(exist_ok=True)
        if boundaries:
            watched = [self.run, *(self.folder / "sites" / site / "work" for site in SITES)]
            Boundaries(watched, strike_at, lambda name: self._write_down("points", name)).install()
        files = {site: self.folder / "sites" / site / "site.toml" for site in SITES}
        app = make_app(open_cached, BENCH)
        run_federation(
            STUDY, files, self.run, resume=resume, on_event=self._hear, client=app, build=build_arithmetic
        ).require_complete()
        self._write_down("modules", "\n".join(sorted(sys.modules)))

    def _hear(self, event: Event) -> None:
        if isinstance(event, SiteProgress) and event.step == 1:
            self._write_down("trainings", f"{event.site} {event.stage}.{event.round}")

    def _write_down(self, page: str, line: str) -> None:
        """Add a line to the diary in one write, which a killed process cannot leave half done."""
        descriptor = os.open(self.folder / page, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def _read(self, page: str) -> list[str]:
        path = self.folder / page
        return path.read_text().splitlines() if path.is_file() else []

    def warm(self) -> None:
        """Import here what the forks of this scene imported, so that the next ones find it."""
        for name in self._read("modules"):
            with contextlib.suppress(ImportError):  # a name that some module gave itself
                importlib.import_module(name)

    def points(self) -> list[str]:
        """Return the names of the points that were passed."""
        return self._read("points")

    def trainings(self) -> Counter[str]:
        """Return how often each `<site> <stage>.<round>` was begun."""
        return Counter(self._read("trainings"))

    def kept(self) -> set[str]:
        """Return the rounds, `<site> <stage>.<round>`, of which a site has its finished answer on its disk."""
        paths = (self.folder / "sites").glob("*/work/state/*/kept/*.answer")
        return {f"{path.parts[-6]} {path.stem.rpartition('.')[0]}" for path in paths}

    def counted(self) -> dict[str, str]:
        """Return the digest of every round's weights that count."""
        return {
            "/".join(path.parts[-3:-1]): json.loads(path.read_text())["global_sha256"]
            for path in (self.run / "rounds").glob("*/*/round.json")
        }

    def fingerprint(self) -> dict[str, str]:
        """Return digests of the release and of the weights of every round that is kept, and all rounds' metrics."""
        paths = [path for path in (self.run / "release").rglob("*") if path.is_file()]
        paths += list((self.run / "rounds").rglob("*.safetensors"))
        found = {str(path.relative_to(self.run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        lines = (self.run / "metrics.jsonl").read_text().splitlines()
        return found | {"metrics": json.dumps([json.loads(line, object_hook=_lasting) for line in lines])}


def _lasting(tree: dict[str, object]) -> dict[str, object]:
    """Leave out what a resumed run may differ in: how long it took, and what had to be sent again."""
    passing = ("seconds", "bytes_down", "bytes_up")
    return {key: value for key, value in tree.items() if key not in passing}


def in_fork(work: Callable[[], None], log: Path) -> int:
    """Do `work` in a fork of this process; return its exit status, negative for the signal that ended it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
