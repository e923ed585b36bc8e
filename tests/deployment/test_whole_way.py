"""From empty folders to a signed release, by the documented commands alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.pages import commands
from tests.deployment.way import Way, audited, page_lines

SHORT = """
name = "short"
sites = ["hospital-a", "hospital-b"]
reference_site = "hospital-a"
[grid]
spacing_mm = [4.0, 4.0, 8.0]
shape = [48, 48]
[data]
holdout_fraction = 0.0
[federation]
quorum = 2
[stages.generator]
rounds = 1
local_steps = 2
batch_size = 2
[reporting]
minimum_count = 1
"""


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """Two hospitals that serve, one round of the generator; nothing is approved."""
    with Way(tmp_path_factory.mktemp("way"), SHORT, ("hospital-a", "hospital-b"), patients=2) as made:
        made.serve()
        yield made


@pytest.mark.timeout(600)
def test_two_hospitals_come_to_a_signed_release_by_the_pages_commands(way: Way) -> None:
    digest = way.plan()
    way.approve()
    run = way.run()
    finish(way, run)
    check_sent(way, digest)
    for hospital in way.hospitals.values():
        for line in (line for line in commands("join.md") if " audit " in line):
            hospital.type(line)


def finish(way: Way, run: Path) -> None:
    """Verify, sign and list the release."""
    verify, promote, releases = page_lines("consortium.md", "verify", "promote", "releases")
    way.server.type(verify)
    way.server.type(promote)
    (release,) = way.server.ask(releases)
    kept = way.server.folder / "consortium" / "releases" / release["digest"]
    assert (kept / "release.sig").is_file() and (kept / "dossier.html").is_file()
    assert (kept / "generator.safetensors").read_bytes() == (run / "release" / "generator.safetensors").read_bytes()


def check_sent(way: Way, digest: str) -> None:
    """Compare what left, decoded on its way, with the plan and the audit logs: messages, tensors, texts, numbers."""
    plan = json.loads((way.server.folder / "consortium" / "plans" / f"{digest}.json").read_text())["plan"]
    nodes = {site["node"]: site["name"] for site in way.server.ask(*page_lines("consortium.md", "sites"))}
    assert way.recorder.pushed.paths <= {f"/v1/fleet/{call}" for call in ALLOWED_CALLS}
    sent: dict[str, list[tuple[str, ...]]] = {site: [] for site in way.sites}
    texts: dict[str, list[str]] = {site: [] for site in way.sites}
    numbers: dict[str, list[tuple[str, float]]] = {site: [] for site in way.sites}
    messages = Counter(nodes[node] for node, _ in way.recorder.pushed.answers())
    for node, content in way.recorder.pushed.answers():
        values = [value for record in content.config_records.values() for value in record.values()]
        texts[nodes[node]] += [hashlib.sha256(str(value).encode()).hexdigest() for value in values]
        for key, record in content.metric_records.items():
            numbers[nodes[node]] += [(f"{key}/{name}", float(value)) for name, value in record.items()]
        for key, record in content.array_records.items():
            for name, array in record.items():
                shape = tuple(array.shape)
                sent[nodes[node]].append((key, name, array.dtype, str(shape), hashlib.sha256(array.data).hexdigest()))
    planned = {
        (name, str(kind[0]), str(tuple(kind[1])))
        for groups in plan["outgoing"].values()
        for tensors in groups.values()
        for name, kind in tensors.items()
    }
    for site, hospital in way.hospitals.items():
        logged = [
            (each["record"], each["name"], each["dtype"], str(tuple(each["shape"])), each["sha256"])
            for entry in audited(hospital)
            for each in entry["tensors"]
        ]
        assert sent[site], f"{site} sent nothing"
        assert sorted(sent[site]) == sorted(logged)
        assert {(name, dtype, shape) for _, name, dtype, shape, _ in sent[site]} <= planned
        entries = [entry for entry in audited(hospital) if entry["kind"] == "message"]
        assert messages[site] == len(entries)
        assert sorted(texts[site]) == sorted(each["sha256"] for entry in entries for each in entry["texts"])
        assert sorted(numbers[site]) == sorted(pair for entry in entries for pair in entry["metrics"].items())
        assert numbers[site] and {name.partition("/")[2] for name, _ in numbers[site]} <= set(plan["metrics"])


ALLOWED_CALLS = (
    *(
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
    ),
    *("push-object", "pull-object", "confirm-message-received"),
)
