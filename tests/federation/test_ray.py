"""The Ray engine against the in-process one: other processes, the same global weights."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.app import make_app
from server.events import RunFinished
from server.study_text import to_toml

CLIENT = """
import importlib.util, sys, torch
torch.set_num_threads(1)
specification = importlib.util.spec_from_file_location("linear_federation", {conftest!r})
module = importlib.util.module_from_spec(specification)
sys.modules["linear_federation"] = module
specification.loader.exec_module(module)
app = module.make_app(module.open_cached, module.LINEAR)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own pipes open
def test_ray_and_in_process_give_the_same_global_weights_after_two_rounds(
    consortium: Any, tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulations.ray_engine import play_on_ray

    study = tiny.make_study(stages__generator="rounds = 2\nlocal_steps = 3")
    here = consortium.run(study, where="here")
    (tmp_path / "ray_client.py").write_text(CLIENT.format(conftest=str(Path(__file__).with_name("conftest.py"))))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "study.toml").write_text(to_toml(study))
    heard: list[Any] = []
    settings = {"study": str(tmp_path / "study.toml"), "out": str(tmp_path / "there" / "run"), "resume": False}
    files = [consortium.sites[site] for site in sorted(study.sites)]
    play_on_ray(make_app(heard.append, tiny.build), files, settings, client="ray_client:app")
    (there,) = [event.result for event in heard if isinstance(event, RunFinished)]
    name = "rounds/generator/2/global.safetensors"
    assert (here.out / name).read_bytes() == (there.out / name).read_bytes()
    assert here.release_digest == there.release_digest
