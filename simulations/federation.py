"""A whole federation on one machine: the real ServerApp and ClientApp over site folders, in process or on Ray."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from simulations.environment import quieten_flower

quieten_flower()

from flwr.app import Context, Message, RecordDict  # noqa: E402  (Flower reads its environment when it is imported)
from flwr.clientapp import ClientApp  # noqa: E402

from client.answers.site_file import SITE_KEY  # noqa: E402
from client.app import app as real_client  # noqa: E402
from client.monitor import StepDone, watching  # noqa: E402
from common.errors import FederationError, StudyError  # noqa: E402
from common.files import write_whole  # noqa: E402
from common.nets.stage_models import build_model  # noqa: E402
from common.study import Study  # noqa: E402
from server.app import make_app  # noqa: E402
from server.events import Event, Listener, RunFinished, SiteProgress, ignore  # noqa: E402
from server.result import RunResult  # noqa: E402
from server.stages import ModelBuilder  # noqa: E402
from server.study_text import to_toml  # noqa: E402
from simulations.grid import RUN_ID, SERVER_NODE_ID, InProcessGrid, VirtualNode  # noqa: E402
from simulations.process_grid import ProcessGrid  # noqa: E402
from simulations.roster import ROSTER, Seat, keep_signing_key, write_rosters  # noqa: E402

Engine = Literal["in-process", "ray"]
Settings = dict[str, bool | float | int | str]


def run_federation(
    study: Study,
    sites: Mapping[str, Path],
    out: Path,
    engine: Engine = "in-process",
    resume: bool = False,
    on_event: Listener = ignore,
    workers: int = 1,
    workdirs: Path | None = None,
    client: ClientApp = real_client,
    build: ModelBuilder = build_model,
    identifier_weights: Path | None = None,
    start_from: Path | None = None,
) -> RunResult:
    """Run a study over site folders on this machine.

    Args:
        study: its sites must all be among `sites`.
        sites: site → folder of its scans, or its own `site.toml`.
        out: the run's folder.
        engine: `in-process`, on a grid of our own, or `ray`, on Flower's simulation runtime.
        workers: processors for our own grid; with more than one the sites run in processes of their own, see `at_work`.
        resume: go on with the run in `out`.
        on_event: hears the server's events and, in process, every training step.
        workdirs: where the sites keep caches and states, `out/sites` unless given; runs may share it.
        client, build: other apps and networks than the real ones; the sites then share this process.
        identifier_weights: file of the identifier's first weights, where the study names one.
        start_from: folder of the release that the study's generator goes on from, where it names one.

    Returns:
        How the run ended; `require_complete()` raises FederationError unless complete.
    Raises:
        StudyError: where a site of the study has no folder, or `out` holds another run.
    """
    missing = sorted(set(study.sites) - set(sites))
    if missing:
        raise StudyError(f"no folder for {', '.join(missing)}; the study names {', '.join(study.sites)}")
    files = [site_file(site, sites[site], workdirs or out / "sites", study) for site in sorted(study.sites)]
    asked = out / "journal" / "asked.toml"
    write_whole(asked, to_toml(study).encode())
    settings: Settings = {"study": str(asked), "out": str(out), "resume": resume, "run": run_of(study, out)}
    given = {"identifier_weights": identifier_weights, "start_from": start_from}
    settings |= {name: str(path) for name, path in given.items() if path is not None}
    hearing = _Hearing(on_event, study)
    try:
        _play(hearing, files, settings, engine, workers, client, build)
    except FederationError:
        if hearing.result is None:
            raise
    return hearing.of(out)


def run_of(study: Study, out: Path) -> str:
    """Return the identifier of a simulated run, by study, seed and the folder's name: it stands in the release."""
    text = f"{study.digest}\n{study.seed}\n{out.resolve().name}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Hearing:
    """Passes events on, turns training steps into events, and keeps the result."""

    def __init__(self, on_event: Listener, study: Study) -> None:
        self.on_event, self.study = on_event, study
        self.result: RunResult | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.result = event.result
        self.on_event(event)

    def of(self, out: Path) -> RunResult:
        """Return the result of the run in `out`. Raises FederationError where it ended without one."""
        if self.result is None:
            raise FederationError(f"{out}: the run ended without a result; look into its log")
        return self.result

    def step(self, done: StepDone) -> None:
        settings = self.study.stages.of(done.stage)
        rounds = settings.rounds if settings else 0
        self(SiteProgress(done.stage, done.round, rounds, done.site, done.step, done.steps, done.losses))


def site_file(site: str, folder: Path, workdirs: Path, study: Study) -> Path:
    """Return the site's own site.toml, or write one that allows what the study asks."""
    if folder.is_file():
        return folder
    path = workdirs / site / "site.toml"
    key = keep_signing_key(path.parent.resolve())
    lines = [
        "schema_version = 1",
        f"name = {json.dumps(site)}",
        f"folder = {json.dumps(str(folder.resolve()))}",
        f"workdir = {json.dumps(str(path.parent.resolve()))}",
        f"signing_key = {json.dumps(str(key))}",
        f"roster = {json.dumps(str(key.with_name(ROSTER)))}",
        "[policy]",
        f"minimum_patients = {study.data.minimum_patients}",
        "approve_everything = true",
    ]
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def _play(
    hearing: _Hearing,
    files: list[Path],
    settings: Settings,
    engine: Engine,
    workers: int,
    client: ClientApp,
    build: ModelBuilder,
) -> None:
    """Run the ServerApp over the grid that `engine`, processors and apps ask for."""
    if engine == "ray":
        from simulations.ray_engine import play_on_ray

        play_on_ray(make_app(hearing), files, settings)
        return
    seats = {
        site: Seat(path, node) for site, (node, path) in zip(sorted(hearing.study.sites), _nodes(files), strict=True)
    }
    settings["roster"] = str(write_rosters(Path(str(settings["out"])), seats))
    if workers > 1 and client is real_client and build is build_model:
        _play_in_processes(hearing, files, settings, at_work(len(files), workers))
    else:
        _play_in_process(hearing, files, settings, client, build)


def _play_in_process(
    hearing: _Hearing, files: list[Path], settings: Settings, client: ClientApp, build: ModelBuilder
) -> None:
    """Run the ServerApp over a grid that calls the ClientApp in this process.

    It runs on one thread, as sites in processes of their own do: the order of sums, and so the bytes, must not depend
    on how many were at work.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def watched(node: int, work: Callable[[], Message]) -> Message:
        with watching(hearing.step):
            return work()

    nodes = {number: VirtualNode(client, configuration) for number, configuration in _configurations(files).items()}
    try:
        make_app(hearing, build)(InProcessGrid(nodes, watched), _context(settings))
    finally:
        torch.set_num_threads(threads)


def _play_in_processes(hearing: _Hearing, files: list[Path], settings: Settings, workers: int) -> None:
    """Run the ServerApp over a grid whose sites are at work in processes of their own."""
    with ProcessGrid(_configurations(files), workers, hearing.step) as grid:
        make_app(hearing)(grid, _context(settings))


def at_work(sites: int, workers: int) -> int:
    """Return how many sites train at a time on `workers` processors: all where they are at most twice as many,
    else one each.

    Three sites on two processors, one each, would leave a processor idle while the third trains.
    """
    return sites if sites <= 2 * workers else workers


def _nodes(files: list[Path]) -> list[tuple[int, Path]]:
    """Return each virtual node with its site.toml."""
    return list(enumerate(files, start=SERVER_NODE_ID + 1))


def _configurations(files: list[Path]) -> dict[int, dict[str, str]]:
    """Return the node configuration of each site, by node."""
    return {number: {SITE_KEY: str(path)} for number, path in _nodes(files)}


def _context(settings: Settings) -> Context:
    return Context(RUN_ID, SERVER_NODE_ID, {}, RecordDict(), dict(settings))
