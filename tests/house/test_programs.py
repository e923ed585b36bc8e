"""The three programs answer at once, say what they are for, and fail in one clear line."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from client.cli import app as client_app
from common import console, errors
from server.cli import app as server_app
from simulations.cli import app as simulation_app

ROOT = Path(__file__).parents[2]
PROGRAMS = {"client.cli": client_app, "server.cli": server_app, "simulations.cli": simulation_app}
HEAVY = {
    *("torch", "monai", "nibabel", "SimpleITK", "nilearn", "matplotlib", "flwr", "ray", "scipy", "sklearn", "numpy"),
    *("jinja2", "PIL", "safetensors", "opacus"),
}


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_imports_nothing_heavy_and_comes_at_once(module):
    code = (
        f"import sys, json, {module}; from typer.testing import CliRunner; "
        f"assert CliRunner().invoke({module}.app, ['--help']).exit_code == 0; "
        "sys.stdout.write(json.dumps(sorted(sys.modules)))"
    )
    began = os.times()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ended = os.times()
    seconds = ended.children_user + ended.children_system - began.children_user - began.children_system
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & HEAVY
    assert seconds < 2, "processor seconds: below one on an idle machine"


def verbs():
    for module, app in PROGRAMS.items():
        for name in (None, *get_command(app).commands):
            yield pytest.param(app, name, id=f"{module} {name or ''}")


@pytest.mark.parametrize(("app", "verb"), list(verbs()))
def test_every_help_states_the_limits_of_use_and_ends_with_a_line_to_paste(app, verb, capsys):
    assert console.run(app, "gliofed", [verb, "--help"] if verb else ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Research use only" in shown
    assert shown.rstrip().splitlines()[-1].strip().startswith("gliofed-")


def test_the_tree_of_errors_is_the_documented_one():
    tree = {
        name: (error.__base__.__name__, error.exit_code, error.code)
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, Exception)
    }
    assert tree == {
        "GliofedError": ("Exception", 1, "error"),
        "StudyError": ("GliofedError", 2, "study"),
        "DataError": ("GliofedError", 3, "data"),
        "ReleaseError": ("GliofedError", 4, "release"),
        "PolicyError": ("GliofedError", 5, "policy"),
        "FederationError": ("GliofedError", 6, "federation"),
        "RunFailedError": ("FederationError", 7, "run-failed"),
    }


def test_the_bundle_that_flower_ships_holds_the_code_and_nothing_else():
    flower = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"]
    shipped = {path.relative_to(ROOT) for pattern in flower["fab-include"] for path in ROOT.glob(pattern)}
    assert {path.parts[0] for path in shipped} == {"client", "server", "common"}
    assert {path.suffix for path in shipped} == {".py"}
    for component in flower["components"].values():
        module, _, _ = component.partition(":")
        assert Path(*module.split(".")).with_suffix(".py") in shipped


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [("common.identity.signing.SignatureError", 5, "bad-signature"),
     ("client.node.serving.OpenDoorError", 5, "open-door"),
     ("client.enrolment.server_certificate.UnreachableError", 6, "unreachable"),
     ("client.consent.approvals.NotApprovedError", 5, "not-approved"),
     ("client.consent.decisions.OtherPlanError", 5, "other-plan"),
     ("client.limits.OutsideHoursError", 5, "outside-hours"),
     ("client.limits.DiskLimitError", 5, "disk-limit"),
     ("client.privacy.audit_entry.AuditError", 5, "audit-log"),
     ("client.privacy.outbound.NotCoveredError", 5, "not-covered"),
     ("common.approval.study_plan.WrongPlanError", 5, "wrong-plan"),
     ("server.hosting.guard.RefusedRunError", 5, "refused-run")],
)  # fmt: skip
def test_the_codes_that_topics_add_are_the_documented_ones(error, exit_code, code):
    module, _, name = error.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    assert (kind.exit_code, kind.code) == (exit_code, code)


@pytest.mark.parametrize(
    "name", ["GliofedError", "StudyError", "DataError", "ReleaseError", "FederationError", "RunFailedError"]
)
def test_an_error_is_one_clear_text_and_its_own_exit_code(name, capsys):
    error = getattr(errors, name)
    app = console.new_app("fails", "gliofed-sim fail")

    @app.command()
    def fail():
        raise error("disk: full; free space")

    assert console.run(app, "gliofed-sim", ["fail"]) == error.exit_code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: disk: full; free space\n")
