"""The nginx configuration is one that nginx takes, and says of the installed Flower what is true."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from flwr.superlink.routers.fleet import router as fleet

from common import console
from common.errors import StudyError
from server.cli import app
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings
from server.hosting.nginx import CALLS, TEMPLATE, configuration, make_folders

ROOT = Path(__file__).parents[2]
NGINX = "/usr/sbin/nginx"


def consortium_in(folder: Path) -> Consortium:
    made = Consortium(folder)
    begin_consortium(made, ConsortiumSettings(name="net", hosts=("gliofed.example.org", "10.0.0.1"), port=8443))
    return made


def test_what_the_verb_prints_is_taken_by_nginx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = consortium_in(tmp_path / "a folder with a blank")
    assert console.run(app, "gliofed-server", ["nginx", str(made.folder), "--alone"]) == 0
    whole = tmp_path / "nginx.conf"
    whole.write_text(capsys.readouterr().out)
    done = subprocess.run([NGINX, "-t", "-c", str(whole)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_to_be_included_it_is_taken_too_and_differs_only_by_what_is_around_it(tmp_path: Path) -> None:
    made = consortium_in(tmp_path / "c")
    inner = configuration(made)
    (tmp_path / "gliofed.conf").write_text(inner)
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include {tmp_path}/gliofed.conf; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    done = subprocess.run([NGINX, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    make_folders(made)
    assert inner.split() == configuration(made, alone=True).split()[-len(inner.split()) - 1 : -1]


@pytest.mark.parametrize("letter", ['"', "$", ";", "{", "\n", "\\", "'"])
def test_a_folder_whose_name_could_say_something_to_nginx_is_refused(tmp_path: Path, letter: str) -> None:
    made = consortium_in(tmp_path / f"a{letter}b")
    with pytest.raises(StudyError, match="choose another folder"):
        configuration(made)


def test_the_calls_that_pass_are_flowers_own_but_for_those_of_unknown_keys() -> None:
    paths = {route.path.removeprefix("/v1/fleet/") for route in fleet.router.routes}
    assert set(CALLS) == paths - {"register-node", "unregister-node"}


def test_the_page_in_deploy_is_the_template_that_the_verb_fills() -> None:
    assert (ROOT / "deploy" / "nginx" / "gliofed.conf.template").read_text() == TEMPLATE
