"""The faults of a real deployment in one long run, and a run that lacks a site; both against the run in process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.errors import FederationError
from common.files import write_whole
from common.release import load_release
from common.study import Study
from server.result import INCOMPLETE
from server.study_text import to_toml
from simulations.chaos.faults import FAULTS
from simulations.chaos.hospitals import Hospitals, draw_hospitals, small_study
from simulations.chaos.trial import STRUCK, FaultRow, Trial
from simulations.deployment.deployment import Deployment
from simulations.deployment.driver import Driver
from simulations.deployment.small_disk import SmallDisk
from simulations.federation import run_federation

DISK_MB = 192
SHORT_DEADLINE_S = 60.0


def play_faults(
    folder: Path, names: Iterable[str] = tuple(FAULTS), spare_rounds: int = 2, then_lack_a_site: bool = True
) -> Iterator[FaultRow]:
    """Strike with each fault in turn, then end the run; its bytes must be those of the same run in process.

    Args:
        folder: takes everything: phantoms, deployment, runs.
        names: the faults, in order; each strikes another round.
        spare_rounds: rounds beyond those, for a fault that was over when the round was.
        then_lack_a_site: afterwards run a study of three required sites while one is away.
    """
    names, hospitals = tuple(names), draw_hospitals(folder / "phantom")
    study = small_study(rounds=len(names) + spare_rounds)
    expected = run_here(study, hospitals, folder / "in-process")
    files = hospitals.files(study, folder / "sites")
    with Deployment(folder / "deployment", files) as deployment, SmallDisk(folder / "disk", DISK_MB) as disk:
        settings = hand_over(study, folder / "disk" / "run", folder / "study.toml")
        with Driver(deployment, settings) as driver:
            trial = Trial(deployment, driver, disk)
            for name in names:
                yield trial.strike(name, FAULTS[name])
            status = driver.wait(patience_s=300.0)
        same = weights_of(settings["out"]) == expected
        yield FaultRow("all of these", "the run went on to its end", 0 if same else 1, _end(status, same), 0.0, 0)
        if then_lack_a_site:
            yield _lack_a_site(deployment, folder)


def run_here(study: Study, hospitals: Hospitals, folder: Path) -> dict[str, str]:
    """Run a study in this process and return the digests of its rounds and of its release."""
    files = hospitals.files(study, folder / "sites")
    run_federation(study, files, folder / "run").require_complete()
    return weights_of(folder / "run")


def hand_over(study: Study, out: Path, path: Path) -> dict[str, str]:
    """Write the study to `path` and return the run configuration, in whole paths: Flower works in its own folders."""
    write_whole(path, to_toml(study).encode())
    return {"study": str(path.resolve()), "out": str(out.resolve())}


def weights_of(out: Path | str) -> dict[str, str]:
    """Return the digest of each round's weights, and of all that the release says but which run it is of.

    A run that is no simulation draws its identifier.
    """
    run = Path(out)
    found = {
        "/".join(path.parts[-3:-1]): json.loads(path.read_text())["global_sha256"]
        for path in (run / "rounds").glob("*/*/round.json")
    }
    release = load_release(run / "release").manifest.model_dump(mode="json")
    for stage in release["stages"].values():
        del stage["lineage"]["run"]
    return found | {"release": hashlib.sha256(json.dumps(release, sort_keys=True).encode()).hexdigest()}


def _lack_a_site(deployment: Deployment, folder: Path) -> FaultRow:
    """Run a study of three required sites while one is away: it must end as incomplete, and name the site."""
    study = small_study(rounds=1, deadline_s=SHORT_DEADLINE_S)
    settings = hand_over(study, folder / "without", folder / "without.toml")
    away = deployment.supervisor.held_down([deployment.supernodes[STRUCK]])
    with away, Driver(deployment, settings, retry_incomplete=False) as driver:
        status = driver.wait(patience_s=300.0)
    result = json.loads((folder / "without" / "run.json").read_text())
    named = sorted({fault["site"] for fault in result["faults"]})
    if status != INCOMPLETE or named != [STRUCK]:
        raise FederationError(f"{folder / 'without'}: ended as {status} and names {named}; expected {STRUCK} alone")
    return FaultRow("site-away", f"{STRUCK} away throughout, quorum 3 of 3", 0, f"incomplete: {STRUCK} named", 0.0, 0)


def _end(status: str, same: bool) -> str:
    return f"{status}, {'the same bytes as' if same else 'OTHER BYTES than'} in process"
