"""The units are whole, hardened, and start programs of ours that exist."""

import shlex
import subprocess

import pytest
from typer.main import get_command

from client.cli import app as client_app
from server.cli import app as server_app

PROGRAMS = {"gliofed-client": client_app, "gliofed-server": server_app}
UNITS = ("gliofed-server", "gliofed-client", "gliofed-console", "gliofed-mlflow", "gliofed-mirror")
MOST_EXPOSED = 15
"""Of 100, as `systemd-analyze security` counts."""


def settings(path):
    """Return key → values of a unit, in order."""
    found = {}
    for line in path.read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture(params=UNITS)
def unit(request, deploy):
    return deploy / "systemd" / f"{request.param}.service"


def test_no_unit_is_forgotten(deploy):
    assert {path.stem for path in (deploy / "systemd").iterdir()} == set(UNITS)


def test_systemd_finds_nothing_wrong(unit, deploy, tmp_path):
    for path in (deploy / "systemd").iterdir():  # together, for they name each other
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        text = path.read_text("utf-8")
        command = settings(path)["ExecStart"][0].split()
        (tmp_path / path.name).write_text(text.replace(command[0], str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    of_ours = [line for line in done.stderr.splitlines() if "gliofed" in line or str(tmp_path) in line]
    assert (done.returncode, of_ours) == (0, []), done.stderr


def test_a_unit_is_hardened(unit):
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level" in done.stdout + done.stderr


def test_a_unit_runs_as_nobody_in_particular_and_comes_back(unit):
    found = settings(unit)
    assert found["User"] == found["Group"] == ["gliofed"]
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
    assert found["Restart"] == ["always"]
    assert found["UMask"] == ["0077"]
    assert found["LimitCORE"] == ["0"]


def test_a_unit_starts_a_command_that_exists(unit):
    program, verb, *arguments = shlex.split(settings(unit)["ExecStart"][0])
    folder, _, name = program.rpartition("/")
    assert folder == "/opt/gliofed/current/bin", "where deploy/offline/install.sh puts it"
    group = get_command(PROGRAMS[name])
    with group.make_context(name, [verb, *arguments]) as context:
        assert group.commands[verb].make_context(verb, list(arguments), parent=context)


def test_the_client_alone_may_use_the_gpu(deploy):
    for name in UNITS:
        found = settings(deploy / "systemd" / f"{name}.service")
        assert found["DevicePolicy"] == ["closed"]
        assert ("DeviceAllow" in found) == (name == "gliofed-client")
        assert ("PrivateDevices" in found) == (name != "gliofed-client")
