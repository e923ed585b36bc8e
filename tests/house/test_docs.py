"""Documentation that cannot drift: keys, defaults, commands and links are held against the code."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from client.cli import app as client_app
from client.config import Connection, Hardware, LayoutConfig, PatientKey, Policy, SiteConfig
from common import study as settings
from common.settings import stages
from common.settings.aggregation import Aggregation
from common.settings.assessment import Assessment
from common.settings.attacks import Attacks
from common.settings.federation import Federation
from common.settings.gate import GateSettings
from common.settings.monitoring import Monitoring
from common.settings.privacy import Privacy
from common.settings.secure_aggregation import SecureAggregation
from common.settings.wire import Wire
from common.study import load_study
from server.cli import app as server_app
from simulations.cli import app as simulation_app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PROGRAMS = {"gliofed-client": client_app, "gliofed-server": server_app, "gliofed-sim": simulation_app}
STUDY_MODELS = [
    *(settings.Study, settings.Grid, settings.Data, settings.Training, Federation, Aggregation, GateSettings, Wire),
    *(SecureAggregation, stages.StageSettings),
    *(stages.GeneratorStage, stages.SynthesiserStage, stages.SegmenterStage, stages.IdentifierStage),
    stages.MapsStage,
    *(Assessment, Attacks, settings.Reporting, Privacy),
]
SITE_MODELS = [SiteConfig, LayoutConfig, PatientKey, Policy, Hardware, Connection, Monitoring]
TABLES = {
    *("stages", "grid", "data", "training", "federation", "aggregation", "gate", "wire", "assessment", "attacks"),
    *("reporting", "privacy", "secure_aggregation"),
    *("layout", "patient", "policy", "hardware", "connection", "monitoring"),
}


def rows(page):
    """Return key and default of each table row."""
    text = (ROOT / "docs" / "reference" / page).read_text("utf-8")
    return [(key, default) for key, default in re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", text, re.MULTILINE)]


def toml(value):
    """Return a default as TOML writes it."""
    if hasattr(value, "value"):
        return json.dumps(value.value)
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    return json.dumps(value)


@pytest.mark.parametrize(("page", "models"), [("study.md", STUDY_MODELS), ("site.md", SITE_MODELS)])
def test_every_key_is_documented_with_its_default_and_no_other(page, models):
    documented = rows(page)
    expected = []
    for model in models:
        inherited = set(stages.StageSettings.model_fields) if model.__base__ is stages.StageSettings else set()
        tables = TABLES if model in (settings.Study, SiteConfig) else set()
        for name, field in model.model_fields.items():
            if name not in tables | inherited:
                default = "required" if field.is_required() else field.get_default(call_default_factory=True)
                expected.append((name, default))
    assert [key for key, _ in documented] == [key for key, _ in expected]
    for (key, written), (_, default) in zip(documented, expected, strict=True):
        said = {"required": "required", "none": None, "all": None}.get(written, written.strip("`"))
        assert said in (default, toml(default)), f"{page}: {key}: says {written}, the code {toml(default)}"


def test_the_settings_of_the_papers_are_settings_of_a_study():
    page = (ROOT / "docs" / "reference" / "study.md").read_text("utf-8")
    blocks = [tomllib.loads(block)["stages"] for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    assert [list(block) for block in blocks] == [["generator"], ["synthesiser", "identifier"]]
    for stage, keys in (pair for block in blocks for pair in block.items()):
        model = next(model for model in STUDY_MODELS if model.__name__ == f"{stage.capitalize()}Stage")
        assert model(**keys).rounds == keys["rounds"]


def commands():
    """Return page and line of every command of ours in a shell block."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line.partition(" > ")[0], comments=True)
                if words and (words[0].rpartition("/")[2] in PROGRAMS or words[0] == "make"):
                    yield pytest.param(words, id=f"{page.name}: {line.split('#')[0].strip()}")


@pytest.mark.parametrize("words", list(commands()))
def test_every_command_in_the_documentation_parses(words):
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
        return
    program = get_command(PROGRAMS[words[0].rpartition("/")[2]])
    with program.make_context(words[0], list(words[1:])) as context:
        verb, name = program.commands[words[1]], words[1]
        assert verb.make_context(name, list(words[2:]), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target, anchor in re.findall(r"\]\(((?!http)[^)#\s]*)(#[^)\s]+)?\)", page.read_text("utf-8")):
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", place.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor[1:] in anchors, f"{page.name}: {target}{anchor}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("simulations/scenarios/*.toml")), ids=lambda path: path.name)
def test_every_built_in_scenario_parses(path):
    if path.name.endswith(".cohort.toml"):
        from simulations.scenario import load_scenario

        assert load_scenario(path).name == path.name.removesuffix(".cohort.toml")
    else:
        assert load_study(path).name == path.stem


def test_the_readme_names_the_limits_of_use_on_its_first_screen():
    first = (ROOT / "README.md").read_text("utf-8").split("## ")[0]
    assert "Research use only. Not a medical device" in first


def test_the_exit_codes_are_the_errors_own():
    from common import errors

    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    said = dict(re.findall(r"^\| (\d) \| `(\w+)`", page, re.MULTILINE))
    tree = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, Exception)]
    assert said == {str(error.exit_code): error.__name__ for error in tree}
