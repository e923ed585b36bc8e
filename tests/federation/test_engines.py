"""Sites in processes of their own, ours or Ray's, against sites in this one: the same global weights."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from server.app import make_app
from server.events import RunFinished
from server.exchange import Exchange
from server.study_text import to_toml
from simulations.federation import at_work
from simulations.process_grid import ProcessGrid
from simulations.roster import Seat, write_rosters

CLIENT = """
import importlib.util, sys, torch
torch.set_num_threads(1)
specification = importlib.util.spec_from_file_location("linear_federation", {conftest!r})
module = importlib.util.module_from_spec(specification)
sys.modules["linear_federation"] = module
specification.loader.exec_module(module)
app = module.make_app(module.open_cached, module.LINEAR)
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The linear ClientApp as a module that another process can import."""
    (tmp_path / "linear_client.py").write_text(CLIENT.format(conftest=str(Path(__file__).with_name("conftest.py"))))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "linear_client:app"


def settings_of(study: Any, tmp_path: Path) -> dict[str, bool | float | int | str]:
    (tmp_path / "study.toml").write_text(to_toml(study))
    return {"study": str(tmp_path / "study.toml"), "out": str(tmp_path / "there" / "run"), "resume": False}


def forget_states(consortium: Any) -> None:
    """Let the sites train again instead of answering what they kept of the other engine's run."""
    for state in consortium.root.glob("sites/*/work/state"):
        state.rename(state.with_name("state-of-the-other-engine"))


def assert_same_bytes(here: Any, heard: list[Any]) -> None:
    (there,) = [event.result for event in heard if isinstance(event, RunFinished)]
    name = "rounds/generator/2/global.safetensors"
    assert (here.out / name).read_bytes() == (there.out / name).read_bytes()
    assert here.release_digest == there.release_digest


def test_up_to_twice_as_many_sites_as_processors_train_at_a_time() -> None:
    assert [at_work(sites, 2) for sites in (1, 2, 3, 4, 5, 40)] == [1, 2, 3, 4, 2, 2]


@pytest.mark.slow
def test_sites_in_their_own_processes_give_the_same_bytes(
    consortium: Any, tiny: SimpleNamespace, tmp_path: Path, client: str
) -> None:
    study = tiny.make_study(stages__generator="rounds = 2\nlocal_steps = 3")
    here = consortium.run(study, where="here")
    forget_states(consortium)
    heard: list[Any] = []
    steps: list[Any] = []
    nodes = {number: {"site": str(consortium.sites[site])} for number, site in ((2, "a"), (3, "b"))}
    roster = write_rosters(tmp_path, {"a": Seat(consortium.sites["a"], 2), "b": Seat(consortium.sites["b"], 3)})
    with ProcessGrid(nodes, 2, steps.append, client) as grid:
        context = Context(
            1, 1, {}, RecordDict(), settings_of(study, tmp_path) | {"roster": str(roster), "run": here.run}
        )
        make_app(heard.append, tiny.build)(grid, context)
        processes = list(grid._pool._processes.values())
    assert_same_bytes(here, heard)
    assert sorted((step.site, step.round, step.step) for step in steps) == [
        (site, number, step) for site in ("a", "b") for number in (1, 2) for step in (1, 2, 3)
    ]
    assert not any(process.is_alive() for process in processes)


def test_a_site_whose_process_dies_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.TRIES", 1)
    (tmp_path / "mortal.py").write_text(
        "import os\ndef app(message, context):\n"
        "    os._exit(9) if context.node_config['site'] == 'dies' else None\n"
        "    from flwr.app import Message, RecordDict\n"
        "    return Message(RecordDict(), reply_to=message)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with ProcessGrid({2: {"site": "dies"}, 3: {"site": "lives"}}, 1, lambda step: None, "mortal:app") as grid:
        exchange = Exchange(grid)
        for node, code in ((2, "node-error-8"), (3, "answered")):
            (reply,) = exchange.ask({node: RecordDict()}, "train", "1", 60.0)
            assert reply.code == code


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own pipes open
def test_ray_and_in_process_give_the_same_global_weights_after_two_rounds(
    consortium: Any, tiny: SimpleNamespace, tmp_path: Path, client: str
) -> None:
    from simulations.ray_engine import play_on_ray

    study = tiny.make_study(stages__generator="rounds = 2\nlocal_steps = 3")
    here = consortium.run(study, where="here")
    forget_states(consortium)
    heard: list[Any] = []
    files = [consortium.sites[site] for site in sorted(study.sites)]
    settings = settings_of(study, tmp_path) | {"run": here.run}
    play_on_ray(make_app(heard.append, tiny.build), files, settings, client)
    assert_same_bytes(here, heard)
