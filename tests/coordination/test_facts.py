"""What screens show: where runs stand, how sites fare, which releases there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from client.app import make_app
from common.errors import DataError
from common.files import write_whole
from common.identity.certificates import Authority
from common.identity.request import write_request
from common.identity.site_key import load_site_key
from server.consortium.folder import Consortium
from server.consortium.revoked import RevokedKey, add_revoked
from server.events import RoundFinished, SiteAnswered
from server.facts import Health, NodeSeen, plain, run_facts, runs, sites
from server.facts.fleet import parse_nodes
from server.facts.site_in_run import SiteInRun
from simulations.chaos.arithmetic import BENCH, open_cached

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_complete_run_says_so_with_all_its_rounds_bytes_and_release(played: Consortium) -> None:
    (run,) = runs(played)
    assert (run.name, run.state, run.study) == ("first", "complete", "arithmetic")
    assert (run.stage, run.seconds_left, run.over) == (None, None, True)
    assert (run.done, run.of, [stage.done for stage in run.stages]) == (4, 4, [2, 2])
    assert run.bytes_down > 0 and run.bytes_up > 0 and run.seconds_a_round is not None
    assert len(run.releases) == 1 and [each.state for each in run.sites] == ["ok", "ok"]
    assert json.loads(json.dumps(plain(run)))["stages"][0]["stage"] == "generator"


def test_a_run_that_is_played_shows_round_accepted_sites_and_time_left(tools: SimpleNamespace, tmp_path: Any) -> None:
    consortium, seen = tools.begin(tmp_path / "north"), []

    def look(event: Any) -> None:
        if isinstance(event, RoundFinished) or (isinstance(event, SiteAnswered) and event.stage == "synthesiser"):
            seen.append(run_facts(consortium.run("live")))

    tools.play(consortium, "live", on_event=look)
    first = seen[0]
    assert (first.state, first.stage, first.round, first.rounds) == ("running", "generator", 2, 2)
    assert first.seconds_left is not None and first.asked == tools.sites
    waiting = next(facts for facts in seen if facts.accepted)
    states = {each.site: each.state for each in waiting.sites}
    assert sorted(states.values()) == ["ok", "waiting"] and states[waiting.accepted[0]] == "ok"


def test_a_folder_without_a_journal_or_with_a_damaged_one_is_listed_with_its_state(north: Consortium) -> None:
    (north.runs / "waiting").mkdir()
    (north.run("first") / "journal" / "journal.sqlite").write_bytes(b"no database" * 100)
    states = {run.name: (run.state, bool(run.reason)) for run in runs(north)}
    assert states == {"waiting": ("not-begun", False), "first": ("damaged", True)}


def test_the_site_that_failed_stands_before_the_one_that_did_not(tools: SimpleNamespace, tmp_path: Any) -> None:
    def opener(path: Any, study: Any) -> Any:
        if path.parent.name == "hospital-b":
            raise DataError("no case")
        return open_cached(path, study)

    consortium = tools.begin(tmp_path / "north")
    result = tools.play(consortium, "torn", client=make_app(opener, BENCH))
    (run,) = runs(consortium)
    assert result.status == run.state == "incomplete" and run.reason is not None and "quorum" in run.reason
    fares = [(each.site, each.is_failing, each.faults) for each in run.sites]
    assert fares == [("hospital-b", True, 1), ("hospital-a", False, 0)]
    by_name = {site.name: site for site in sites(consortium)}
    assert by_name["hospital-b"].last_fault == "data in torn" and by_name["hospital-a"].faults == 0


def test_the_worst_site_is_told_by_failure_then_alarm_then_faults_then_slowness() -> None:
    best = SiteInRun("a", "ok", seconds=1.0)
    worse = [
        SiteInRun("b", "ok", seconds=9.0),
        SiteInRun("c", "ok", faults=1),
        SiteInRun("d", "ok", alarmed=True),
        SiteInRun("e", "late"),
    ]
    assert [each.site for each in sorted([best, *worse], key=lambda each: each.misery)] == ["e", "d", "c", "b", "a"]


def test_a_site_shows_its_key_rounds_and_code_and_nobody_guesses_whether_it_is_online(played: Consortium) -> None:
    first, second = sites(played)
    assert (first.name, second.name) == ("hospital-a", "hospital-b")
    assert first.fingerprint is not None and first.fingerprint.startswith("SHA256:") and first.node == 1
    assert first.rounds == 4 and first.faults == 0 and first.code_version == runs(played)[0].code_version
    assert first.online is None and first.health is Health.UNKNOWN and first.last_seen is not None
    assert first.certificate_days is not None and 396 < first.certificate_days < 397.1


def test_health_tells_online_from_silent(played: Consortium) -> None:
    def health(nodes: dict[int, NodeSeen]) -> list[Health]:
        return [site.health for site in sites(played, lambda: nodes)]

    assert health({1: NodeSeen("online", NOW), 2: NodeSeen("offline", NOW)}) == [Health.OK, Health.SILENT]
    assert health({1: NodeSeen("online", NOW)}) == [Health.OK, Health.SILENT], "it answered, so it was there before"


def test_a_site_that_was_admitted_and_never_came_is_new(tools: SimpleNamespace, tmp_path: Any) -> None:
    consortium = tools.begin(tmp_path / "north")
    (site, _) = sites(consortium, lambda: {1: NodeSeen("registered", None)})
    assert (site.health, site.rounds, site.last_seen) == (Health.NEW, 0, None) and "gliofed-client serve" in site.why


def test_until_its_first_run_a_site_shows_the_version_of_its_request(tools: SimpleNamespace, tmp_path: Any) -> None:
    consortium = tools.begin(tmp_path / "north")
    for name, keys in (("hospital-a", "hospital-a"), ("hospital-b", "hospital-a")):  # b's is not of b's key
        key = load_site_key(consortium.folder / "of-sites" / keys)
        write_whole(consortium.requests / f"{name}.json", write_request(name, key, "0.9.0+abc"))
    assert [site.code_version for site in sites(consortium)] == ["0.9.0+abc", None]
    write_whole(consortium.requests / "hospital-a.json", b"damaged")
    assert sites(consortium)[0].code_version is None


def test_the_certificate_that_ends_first_is_named_with_its_own_remedy(tools: SimpleNamespace, tmp_path: Any) -> None:
    consortium = tools.begin(tmp_path / "north")
    authority = Authority.load(consortium.ca, consortium.ca_key)
    authority.issue(("localhost",), consortium.server_certificate, consortium.server_key, timedelta(days=9.5))
    assert sites(consortium)[0].health is Health.EXPIRING and "`gliofed-server renew`" in sites(consortium)[0].why
    old = Authority.create("north", timedelta(days=9.5))
    old.save(consortium.ca, consortium.ca_key)
    old.issue(("localhost",), consortium.server_certificate, consortium.server_key)  # cut short by its authority
    why = sites(consortium)[0].why
    assert why.startswith("the authority's certificate ends in 9 days") and "`gliofed-server init`" in why
    assert "renew" not in why


def test_a_site_that_was_shut_out_is_listed_as_revoked_until_it_is_admitted_with_another_key(
    tools: SimpleNamespace, tmp_path: Any
) -> None:
    consortium = tools.begin(tmp_path / "north", ("hospital-a",))
    for site in ("hospital-a", "hospital-b"):
        add_revoked(consortium.revoked, RevokedKey(site=site, node=7, fingerprint=f"SHA256:{site}", at=NOW))
    again, gone = sites(consortium)
    assert (again.health, again.node) == (Health.UNKNOWN, 1)
    assert (gone.name, gone.health, gone.node, gone.online) == ("hospital-b", Health.REVOKED, None, None)
    assert gone.why == "its key was revoked on 2026-11-22"


def test_flowers_list_of_nodes_is_read_with_its_line_for_people() -> None:
    early, later = "2026-11-22 10:00:00Z", "2026-11-22 11:30:00Z"
    listed = [
        {"node-id": "7", "status": "online", "online-at": early, "offline-at": "N/A", "more": 1},
        {"node-id": "8", "status": "offline", "online-at": early, "offline-at": later},
        {"node-id": "9", "status": "registered", "online-at": "N/A", "offline-at": "N/A"},
    ]
    nodes = parse_nodes(f"Listing…\n{json.dumps({'success': True, 'nodes': listed})}".encode(), NOW)
    then = NOW.replace(hour=11, minute=30)
    assert nodes == {7: NodeSeen("online", NOW), 8: NodeSeen("offline", then), 9: NodeSeen("registered", None)}


def tables(inner: Any) -> Any:
    keys = st.sampled_from(["node-id", "status", "online-at", "offline-at", "x"])
    return st.dictionaries(keys, inner | st.sampled_from(["7", "2026-11-22 10:00:00Z"]))


LEAVES = st.none() | st.text() | st.integers()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | tables(inner), max_leaves=8)


@given(st.binary(max_size=200) | TREES.map(lambda tree: json.dumps({"nodes": tree}).encode()))
@settings(max_examples=200, deadline=None)
def test_anything_else_that_a_superlink_says_is_unknown_or_a_list_and_never_an_error(answer: bytes) -> None:
    nodes = parse_nodes(answer, NOW)
    assert nodes is None or isinstance(nodes, dict)
