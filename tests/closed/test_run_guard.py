"""The guard at the coordinator: which run the installed app gets, and that nothing of a bundle is loaded or read."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from common.errors import GliofedError, StudyError
from common.identity.signing import SignatureError, SigningKey
from common.roster_file import Roster, RosterSite
from common.sources import installed_sources
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings
from server.hosting import guard as module
from server.hosting.bundle import FILE, build_bundle
from server.hosting.guard import Guard, RefusedRunError, installed_app, say_in_one_line, stand_before
from server.hosting.submit import planned_run_config
from tests.closed.place import put_bundle
from tests.closed.plans import plan_of, put_plan

RUN = planned_run_config("one")
BUNDLE = build_bundle()
ROSTER = Roster(sites={"hospital-a": RosterSite(node=7)})


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    made = Consortium(tmp_path_factory.mktemp("run-guard"))
    begin_consortium(made, ConsortiumSettings(name="net", hosts=("localhost",)))
    return made


@pytest.fixture
def consortium(begun: Consortium) -> Consortium:
    """One whose bundle holds the installed code, and that planned the run `one`."""
    key = SigningKey.load(begun.signing_key)
    for path in begun.plans.glob("*"):
        path.unlink()
    put_plan(begun, plan_of("one", put_bundle(begun, key), ROSTER), key)
    return begun


def never(*_: object) -> None:
    raise AssertionError("the installed app was called")


def passed(guard: Guard, bundle: bytes, override: dict[str, Any]) -> dict[str, Any]:
    """Do with a bundle what Flower does before the app is run; return the run's configuration."""
    guard.look_at(bundle, skip_prompt=True)
    return guard.fused_config(Path(), override)


def context() -> Context:
    return Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})


@pytest.mark.parametrize("resume", [{}, {"resume": True}, {"resume": False}])
def test_a_planned_run_of_the_signed_bundle_gets_the_installed_app(
    consortium: Consortium, resume: dict[str, bool]
) -> None:
    called: list[object] = []
    guard = Guard(consortium, lambda: lambda grid, context: called.append(grid))
    assert passed(guard, BUNDLE, {**RUN, **resume}) == {**RUN, "resume": False, **resume}
    guard.run(grid="the grid", context=context(), server_app_attr="theirs:app")
    assert called == ["the grid"]


def test_what_is_left_out_of_a_configuration_stands_for_none(consortium: Consortium) -> None:
    given = {key: value for key, value in RUN.items() if value != ""}
    assert passed(Guard(consortium, never), BUNDLE, given) == {**RUN, "resume": False}


@pytest.mark.parametrize("bundle", [b"", b"PK no bundle", build_bundle({**installed_sources(), "evil.py": b"#"})])
def test_a_bundle_that_is_not_the_signed_one_is_refused(consortium: Consortium, bundle: bytes) -> None:
    guard = Guard(consortium, never)
    with pytest.raises(RefusedRunError, match="is not the one that the consortium signed"):
        guard.look_at(bundle)
    with pytest.raises(RefusedRunError):
        guard.fused_config(Path(), RUN)
    with pytest.raises(RefusedRunError, match="not looked at"):
        guard.run(grid=None, context=context())


def test_a_signed_bundle_of_other_code_is_refused(consortium: Consortium) -> None:
    key, other = SigningKey.load(consortium.signing_key), {**installed_sources(), "server/app.py": b"#"}
    put_plan(consortium, plan_of("one", put_bundle(consortium, key, other), ROSTER), key)
    with pytest.raises(RefusedRunError, match="holds other code"):
        Guard(consortium, never).look_at(build_bundle(other))


def test_without_a_bundle_that_is_as_it_was_signed_nothing_runs(consortium: Consortium) -> None:
    put_bundle(consortium, SigningKey.generate())
    with pytest.raises(SignatureError):
        Guard(consortium, never).look_at(BUNDLE)
    (consortium.bundle / FILE).write_bytes(b"another")
    with pytest.raises(StudyError, match="changed since it was signed"):
        Guard(consortium, never).look_at(BUNDLE)


@pytest.mark.parametrize(
    "altered",
    [
        *({"study": "runs/two/study.toml"}, {"out": "runs/two"}, {"out": "/etc"}, {"roster": "mine.toml"}),
        *({"start_from": "runs/x"}, {"identifier_weights": "x"}, {"run": "0" * 16}, {"more": "x"}, {"resume": "yes"}),
    ],
)
def test_a_configuration_that_no_plan_names_is_refused(consortium: Consortium, altered: dict[str, str]) -> None:
    guard = Guard(consortium, never)
    with pytest.raises(RefusedRunError, match="no signed plan"):
        passed(guard, BUNDLE, {**RUN, **altered})
    with pytest.raises(RefusedRunError, match="not looked at"):
        guard.run(grid=None, context=context())


def test_a_plan_counts_for_its_bundle_alone_and_only_as_the_consortium_signed_it(
    consortium: Consortium, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = consortium.plans.glob("*.json")
    tampered = path.read_text().replace("runs/one", "runs/two")
    path.unlink()
    (consortium.plans / "tampered.json").write_text(tampered)
    (consortium.plans / "none.json").write_text("{")
    put_plan(consortium, plan_of("one", "c" * 64, ROSTER), SigningKey.load(consortium.signing_key))
    put_plan(consortium, plan_of("two", hashlib.sha256(BUNDLE).hexdigest(), ROSTER), SigningKey.generate())
    for run in ("one", "two"):
        with pytest.raises(RefusedRunError, match="no signed plan"):
            passed(Guard(consortium, never), BUNDLE, planned_run_config(run))
    assert {"tampered.json", "none.json"} <= {record.args[0] for record in caplog.records if record.args}


# ---- in the place of Flower's own


def test_it_stands_where_the_pinned_flower_runs_bundles(consortium: Consortium) -> None:
    stand_in = ModuleType("run_serverapp")
    vars(stand_in).update(vars(module.flower))
    guard = Guard(consortium, never)
    stand_before(stand_in, guard)
    components = stand_in.get_project_config("anywhere")["tool"]["flwr"]["app"]["components"]
    assert components == {"serverapp": "server.app:app"}
    with pytest.raises(RuntimeError, match="nothing that a bundle asks for"):
        stand_in.install_app_dependencies(Path(), launch_id="x")
    source = Path(str(module.flower.__file__)).read_text()
    for called in (
        "install_from_fab(fab.content, skip_prompt=True)",
        "get_fused_config_from_dir(\n            Path(app_path), run.override_config",
        "context = run_(\n            grid=grid,",
    ):
        assert called in source, "Flower's own way has changed; look whether the guard still stands in it"


def test_it_refuses_to_stand_in_a_flower_that_works_otherwise(consortium: Consortium) -> None:
    with pytest.raises(RuntimeError, match="run_ missing"):
        stand_before(SimpleNamespace(**{**vars(module.flower), "run_": None}), Guard(consortium, never))


def test_the_installed_app_is_the_one_that_the_bundle_names() -> None:
    from server.app import app

    assert installed_app() is app


def test_an_error_of_ours_is_one_line_of_the_log_and_any_other_keeps_its_traceback() -> None:
    for error, text, kept in ((StudyError("s: wrong"), "s: wrong", False), (ValueError("x"), "App raised", True)):
        try:
            raise error
        except (GliofedError, ValueError) as caught:
            told = (type(caught), caught, caught.__traceback__)
        record = logging.LogRecord("flwr", logging.ERROR, "", 1, "%s raised", ("App",), told)
        assert say_in_one_line(record)
        assert (record.getMessage(), record.exc_info is not None) == (text, kept)
