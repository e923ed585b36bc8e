"""Rules and dashboards against the real thing: promtool, and a Prometheus that scrapes real exporters."""

import importlib.util
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest
import yaml

from client.monitoring.metrics import METRICS as CLIENT
from client.monitoring.start import start_monitoring as watch_site
from client.privacy.ledger import Entry, Ledger
from common.monitoring.exporter import PART_READ
from common.settings.stages import Stage
from server.journal import Journal
from server.monitoring.metrics import METRICS as SERVER
from server.monitoring.start import start_monitoring as watch_server
from server.result import SiteFault
from simulations.chaos.arithmetic import arithmetic_study
from simulations.deployment.deployment import free_port

ROLES = ("server", "site")
EXPORTED = {"up", PART_READ.name, *(each.name for each in (*CLIENT, *SERVER))}
MAY_BE_EMPTY = {
    "gliofed_client_gpu_memory_used_bytes": "no GPU here",
    "gliofed_client_gpu_memory_size_bytes": "no GPU here",
    'sum by (site, kind) (gliofed_server_alarms_total{run=~"$run"}) > 0': "no alarm in the toy run",
    'gliofed_server_site_withdrawn{run=~"$run"} == 1': "nobody withdrawn in the toy run",
}
"""Queries of panels that rightly find nothing over the toy run, and why."""


@pytest.fixture(scope="module")
def prometheus_folder(repository):
    return repository / "deploy" / "prometheus"


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("role", ROLES)
def test_promtool_finds_nothing_wrong(prometheus_folder, role):
    for arguments in (
        ("check", "config", prometheus_folder / f"{role}.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", prometheus_folder / f"{role}-rules.yml"),
        ("test", "rules", prometheus_folder / "tests" / f"{role}-rules.yml"),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def alerts(folder, role):
    return yaml.safe_load((folder / f"{role}-rules.yml").read_text("utf-8"))["groups"][0]["rules"]


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_alert_has_a_test_that_fails_without_it(prometheus_folder, tmp_path, role):
    shutil.copytree(prometheus_folder, tmp_path / "p")
    rules = tmp_path / "p" / f"{role}-rules.yml"
    whole = yaml.safe_load(rules.read_text("utf-8"))
    for number, rule in enumerate(whole["groups"][0]["rules"]):
        for never in ("vector(0) > 1", f"({rule['expr']}) or vector(1)"):
            changed = json.loads(json.dumps(whole))
            changed["groups"][0]["rules"][number]["expr"] = never
            rules.write_text(yaml.safe_dump(changed))
            done = promtool("test", "rules", tmp_path / "p" / "tests" / f"{role}-rules.yml")
            assert done.returncode != 0, f"{rule['alert']} could say {never} and nobody would notice"


@pytest.mark.parametrize("role", ROLES)
def test_every_alert_says_what_to_do_and_asks_for_figures_that_exist(prometheus_folder, role):
    for rule in alerts(prometheus_folder, role):
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "remedy", "runbook"}, rule["alert"]
        assert names_in(rule["expr"]) <= EXPORTED, rule["alert"]


@pytest.mark.parametrize("role", ROLES)
def test_every_alert_names_a_place_in_the_documentation_that_is_there(prometheus_folder, repository, role):
    for rule in alerts(prometheus_folder, role):
        place, _, row = rule["annotations"]["runbook"].partition(": ")
        page, _, anchor = place.partition("#")
        text = (repository / page).read_text("utf-8")
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, rule["alert"]
        assert not row or f"\n| {row}" in text, f"{rule['alert']}: {page} has no row that begins with {row}"


def names_in(query):
    return set(re.findall(r"\b(?:gliofed_\w+|up)\b", re.sub(r'"[^"]*"', "", query)))


def load_generator(repository):
    path = repository / "deploy" / "grafana" / "dashboards.py"
    spec = importlib.util.spec_from_file_location("dashboards", path)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["dashboards"] = module
    spec.loader.exec_module(module)
    return module


def test_the_dashboards_are_those_that_their_program_writes(repository):
    generator = load_generator(repository)
    for name, tree in generator.dashboards().items():
        assert (generator.FOLDER / name).read_text("utf-8") == generator.text_of(tree), f"run dashboards.py: {name}"


@pytest.mark.parametrize("name", ["coordinator.json", "site.json"])
def test_a_dashboard_is_laid_out_without_overlap_and_shows_every_figure_of_its_role(repository, name):
    board = json.loads((repository / "deploy" / "grafana" / "dashboards" / name).read_text("utf-8"))
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert len({panel["title"] for panel in board["panels"]}) == len(board["panels"])
    shown = set().union(*(names_in(target["expr"]) for panel in board["panels"] for target in panel["targets"]))
    expected = {each.name for each in (SERVER if name == "coordinator.json" else CLIENT)} | {PART_READ.name}
    assert shown == expected


def test_grafana_is_told_of_the_source_and_of_the_folder(repository):
    folder = repository / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    (provider,) = yaml.safe_load((folder / "dashboards" / "gliofed.yml").read_text("utf-8"))["providers"]
    assert provider["type"] == "file"


class Asked:
    """A Prometheus at `port`, by its HTTP API."""

    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.base}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:  # noqa: S310
            tree = json.loads(answer.read())
        assert tree["status"] == "success", tree
        return tree["data"]

    def query(self, expression):
        found = self.get("/api/v1/query", query=expression)
        return [] if found["resultType"] != "vector" else found["result"]

    @property
    def ready(self):
        try:
            urllib.request.urlopen(f"{self.base}/-/ready", timeout=5).close()  # noqa: S310
        except OSError:
            return False
        return True


@contextmanager
def prometheus(repository, folder, role, port):
    """Start a Prometheus with the configuration of a role; only the target's port and the intervals are others."""
    shutil.copytree(repository / "deploy" / "prometheus", folder)
    config = folder / f"{role}.yml"
    text, replaced = re.subn(r"127\.0\.0\.1:94\d\d", f"127.0.0.1:{port}", config.read_text("utf-8"))
    config.write_text(text.replace("15s", "500ms"))
    assert len(yaml.safe_load(text)["scrape_configs"]) == replaced - text.count("#127") == 1
    asked = Asked(free_port())
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address={asked.base.removeprefix('http://')}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield asked
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def asked(consortium, joined, nodes, lasting_server, repository, tmp_path_factory):
    """Role → a real Prometheus over a complete run, one that is being driven, and a site that trained."""
    folder = tmp_path_factory.mktemp("prometheus")
    place = joined(lasting_server, "epsilon_budget = 8.0", heartbeat_s=30)
    Ledger(place.work).reserve(Entry("c" * 64, "tiny", "d" * 16, "segmenter", 1, 5, 0.1, 1.0, 1e-5), lambda _: None)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, consortium.run("second"))
        study = arithmetic_study(("a", "b"))
        journal = stack.enter_context(Journal.open(consortium.run("second"), study, resume=False))
        journal.note_fault(SiteFault("a", "replayed", Stage.GENERATOR, 1))
        ports = {
            "server": stack.enter_context(watch_server(consortium, lambda: nodes, lambda: True)).metrics_port,
            "site": stack.enter_context(watch_site(place, lambda: True)).metrics_port,
        }
        yield {role: stack.enter_context(prometheus(repository, folder / role, role, ports[role])) for role in ROLES}


BOARDS = {"server": "coordinator.json", "site": "site.json"}


@pytest.mark.parametrize("role", ROLES)
def test_every_panels_query_is_answered_by_a_real_prometheus(asked, repository, eventually, role):
    board = json.loads((repository / "deploy" / "grafana" / "dashboards" / BOARDS[role]).read_text("utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    eventually(lambda: asked[role].ready, 30)
    eventually(lambda: asked[role].query("up == 1"), 30)
    eventually(lambda: not asked[role].query("gliofed_part_read == 0"), 60)
    empty = set()
    for query in queries:

        def found(query=query):
            return asked[role].query(query.replace("$run", ".*"))

        if query in MAY_BE_EMPTY:
            found()  # that it is answered is all that can be asked of it here
            continue
        try:
            eventually(found, 15)
        except AssertionError:
            empty.add(query)
    assert not empty


def test_the_choice_of_runs_is_answered(asked, eventually):
    eventually(lambda: asked["server"].ready, 30)
    eventually(lambda: asked["server"].get("/api/v1/label/run/values") == ["first", "second"], 30)


@pytest.mark.parametrize("role", ROLES)
def test_every_rule_is_loaded_and_evaluates(asked, prometheus_folder, eventually, role):
    eventually(lambda: asked[role].ready, 30)

    def health():
        groups = asked[role].get("/api/v1/rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    eventually(lambda: set(health().values()) == {"ok"}, 30)
    assert set(health()) == {rule["alert"] for rule in alerts(prometheus_folder, role)}


def test_what_is_exported_is_fit_for_prometheus(asked, eventually):
    """No unit is missing and no name is unfit, says promtool of the exposition itself."""
    for role in ROLES:
        eventually(lambda role=role: asked[role].ready, 30)
        targets = asked[role].get("/api/v1/targets")["activeTargets"]
        with urllib.request.urlopen(targets[0]["scrapeUrl"], timeout=10) as answer:  # noqa: S310
            done = subprocess.run(
                ["promtool", "check", "metrics"], input=answer.read(), capture_output=True, check=False
            )
        assert done.returncode == 0, done.stderr.decode()
