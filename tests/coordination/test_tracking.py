"""What MLflow shows is what the journals hold, once each; with a real MLflow on the loopback address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common import console
from common.errors import GliofedError
from common.processes.flower import environment, own_module
from common.processes.program import Program
from common.settings.stages import Stage
from server.cli import app
from server.consortium.folder import Consortium
from server.journal import Journal
from server.promotion import promote
from server.tracking.client import open_client
from server.tracking.mirror import mirror
from server.tracking.program import SETTINGS, address_of, tracking_environment, tracking_program
from server.tracking.run_mirror import RUN, numbers_of
from simulations.deployment.deployment import free_port

START_S = 120.0


pytestmark = pytest.mark.slow  # MLflow takes half a minute to start


@pytest.fixture(scope="module")
def tracked(played: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A copy of the consortium whose MLflow runs, as `gliofed-server tracking` runs it, and what was mirrored first."""
    folder = tmp_path_factory.mktemp("tracked") / "north"
    shutil.copytree(played.folder, folder)
    text = (folder / "consortium.toml").read_text().replace("mlflow = 5000", f"mlflow = {free_port()}")
    (folder / "consortium.toml").write_text(text)
    consortium = Consortium(folder)
    promoted = promote(consortium, consortium.run("first"))
    words = [*own_module("server.cli"), "tracking", str(folder)]
    program = Program("tracking", words, environment(consortium.flower), tmp_path_factory.mktemp("elsewhere"),
                      consortium.logs / "tracking.log")  # fmt: skip
    program.start()
    try:
        wait_for(address_of(consortium), program)
        before = dict(os.environ)
        first = mirror(consortium)
        yield SimpleNamespace(consortium=consortium, first=first, promoted=promoted, program=program)
        os.environ.clear()
        os.environ.update(before)
    finally:
        program.end()


def wait_for(address: str, program: Program) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert program.alive, program.log.read_text()[-2000:]
        try:
            if ask(address, "GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(program.log.read_text()[-2000:])


def ask(address: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Return status and text of what the server answers."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def the_run(client: Any, consortium: Consortium) -> Any:
    with Journal.look_into(consortium.run("first")) as journal:
        name = journal.run
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{RUN}` = '{name}'")
    assert len(found) == 1, "a run is mirrored into one run, however often"
    return found[0]


def test_every_round_and_site_has_its_numbers(tracked: SimpleNamespace) -> None:
    with Journal.look_into(tracked.consortium.run("first")) as journal:
        records = [record for stage in journal.study.stages.present for record in journal.records(stage)]
    assert tracked.first.numbers == sum(len(list(numbers_of(record, 0))) for record in records) > 40
    with open_client(address_of(tracked.consortium)) as client:
        run = the_run(client, tracked.consortium)
        history = client.get_metric_history(run.info.run_id, "generator/training.loss/hospital-b")
    written = [record["sites"]["hospital-b"]["metrics"]["training.loss"] for record in records[:2]]
    assert [(each.step, each.value) for each in history] == list(enumerate(written, start=1))
    assert (run.info.status, run.data.tags["gliofed.state"]) == ("FINISHED", "complete")
    assert run.data.params["generator.rounds"] == "2" and run.data.params["sites"] == "hospital-a, hospital-b"


def test_a_second_mirror_writes_nothing_and_one_that_forgot_writes_nothing_twice(tracked: SimpleNamespace) -> None:
    again = mirror(tracked.consortium)
    assert (again.runs, again.numbers, again.versions) == (1, 0, 0)
    with open_client(address_of(tracked.consortium)) as client:
        run = the_run(client, tracked.consortium)
        client.set_tag(run.info.run_id, f"gliofed.rounds.{Stage.GENERATOR.value}", 1)
        assert mirror(tracked.consortium).numbers == tracked.first.numbers // 4, "the round after the tag"
        for name in ("generator/seconds", "generator/training.loss/hospital-a"):
            assert [each.step for each in client.get_metric_history(run.info.run_id, name)] == [1, 2]


def test_a_promoted_release_is_one_version_with_dossier_and_tags_and_without_weights(
    tracked: SimpleNamespace,
) -> None:
    assert tracked.first.versions == 1
    with open_client(address_of(tracked.consortium)) as client:
        (version,) = client.search_model_versions("name = 'gliofed-arithmetic'")
        assert version.tags["gliofed.release"] == tracked.promoted.digest
        assert version.tags["gliofed.patients"] == "hospital-a 2, hospital-b 2"
        assert version.tags["gliofed.epsilon.generator"] == "not private"
        assert client.get_model_version_by_alias("gliofed-arithmetic", "promoted").version == version.version
        run = the_run(client, tracked.consortium)
        place = f"release-{tracked.promoted.digest[:12]}"
        names = {Path(each.path).name for each in client.list_artifacts(run.info.run_id, place)}
        assert names == {"release.json", "release.sig", "dossier.json", "dossier.json.sig", "dossier.html"}
    everything = list((tracked.consortium.folder / "mlflow").rglob("*"))
    assert not [path for path in everything if path.suffix in (".safetensors", ".pkl", ".pickle", ".pt")]


def test_mlflow_listens_here_alone_and_runs_no_jobs(tracked: SimpleNamespace) -> None:
    port = tracked.consortium.settings.ports.mlflow
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
    places = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{port}")]
    assert places == [f"127.0.0.1:{port}"]
    started = " ".join(process.command for process in tracked.program.descendants(""))
    assert "uvicorn" in started and "huey" not in started
    assert SETTINGS["MLFLOW_DISABLE_TELEMETRY"] == SETTINGS["DO_NOT_TRACK"] == "true"
    for process in (tracked.program, *tracked.program.descendants("")):
        told = set(Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"))
        assert told >= {b"MLFLOW_DISABLE_TELEMETRY=true", b"DO_NOT_TRACK=true"}
    job = {"job_name": "optimize_prompts", "params": {}}
    status, said = ask(address_of(tracked.consortium), "POST", "/ajax-api/3.0/jobs/", job)
    assert status >= 400 and "JOB_EXECUTION" in said, said


def test_the_verb_mirrors_and_says_what_it_wrote(tracked: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(app, "gliofed-server", ["mirror", str(tracked.consortium.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"left_out": {}, "numbers": 0, "runs": 1, "versions": 0}


def test_whoever_keeps_programs_alive_starts_the_same_server(north: Consortium) -> None:
    program = tracking_program(north)
    assert program.command[1:5] == ["-P", "-m", "mlflow", "server"]
    assert program.command[program.command.index("--host") + 1] == "127.0.0.1"
    assert tracking_environment().items() >= SETTINGS.items()


def test_a_damaged_run_is_named_and_the_others_are_mirrored(tracked: SimpleNamespace) -> None:
    torn = tracked.consortium.run("torn") / "journal"
    torn.mkdir(parents=True)
    (torn / "journal.sqlite").write_bytes(b"no database" * 100)
    done = mirror(tracked.consortium)
    assert (done.runs, list(done.left_out)) == (2, ["torn"])


def test_where_no_mlflow_answers_the_mirror_says_how_to_start_it(played: Consortium) -> None:
    with pytest.raises(GliofedError, match="gliofed-server tracking"):
        mirror(played, f"http://127.0.0.1:{free_port()}")
