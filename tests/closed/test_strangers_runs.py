"""What becomes of the runs of somebody who has a shell on the coordinator's machine and reaches the Control API."""

from __future__ import annotations

import pytest
from flwr.proto.run_pb2 import RunStatus

from common.roster_file import load_roster
from server.hosting.submit import planned_run_config
from tests.closed.foreign_app import foreign_bundle
from tests.closed.place import Place, put_bundle, wait_until
from tests.closed.plans import plan_of, put_plan

MARK = "run-at-the-coordinator"


@pytest.fixture(scope="module")
def ended(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunStatus]:
    """How these runs ended: of a foreign bundle, of a configuration that nobody planned, and the planned one."""
    key, mark = place.signing_key, place.folder / MARK
    bundle = put_bundle(place.consortium, key)
    put_plan(place.consortium, plan_of("planned", bundle, load_roster(place.consortium.roster)), key)
    planned = planned_run_config("planned")
    with place.control() as control:
        submitted = {
            "foreign": control.submit(planned, foreign_bundle(mark)),
            "altered": place.submit(planned | {"start_from": "runs/another"}),
            "planned": place.submit(planned),
        }
        for run in submitted.values():
            wait_until(lambda run=run: control.status(run).status == "finished", f"run {run} is over")
        return {name: control.status(run) for name, run in submitted.items()}


def executor_log(place: Place) -> list[str]:
    return (place.consortium.logs / "executor.log").read_text().splitlines()


def test_a_bundle_that_the_consortium_did_not_sign_is_neither_run_nor_unpacked(
    place: Place, ended: dict[str, RunStatus]
) -> None:
    assert ended["foreign"].sub_status == "failed"
    assert "is not the one that the consortium signed" in ended["foreign"].details
    assert not (place.folder / MARK).exists()
    assert not list(place.consortium.folder.rglob("sender.py"))
    (line,) = [line for line in executor_log(place) if "is not the one" in line]
    assert "the run is refused" in line


def test_a_configuration_that_no_signed_plan_names_is_refused(place: Place, ended: dict[str, RunStatus]) -> None:
    assert ended["altered"].sub_status == "failed"
    assert "no signed plan" in ended["altered"].details
    assert len([line for line in executor_log(place) if "no signed plan" in line]) == 1


def test_the_planned_run_is_the_installed_apps(place: Place, ended: dict[str, RunStatus]) -> None:
    assert "runs/planned/study.toml" in ended["planned"].details, "the app looks for the study, and there is none"
    assert len([line for line in executor_log(place) if "the installed app runs" in line]) == 1


def test_no_refusal_fills_the_log_with_a_traceback(place: Place, ended: dict[str, RunStatus]) -> None:
    assert not [line for line in executor_log(place) if line.startswith("Traceback")]
