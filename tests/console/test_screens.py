"""What a coordinator reads on the pages: how each site is, what a release is worth, what alarmed; the worst first."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from torch import nn

from client.app import make_app as make_client
from client.training.workplace import Workplace
from common.errors import DataError
from common.identity.signing import SigningKey
from common.settings.stages import Stage
from common.study import code_version
from server.console.desk import Desk
from server.consortium.folder import Consortium
from server.events import RoundFinished
from server.facts import NodeSeen, releases
from server.facts.release_facts import FigureFacts
from server.promotion import promote
from simulations.chaos.arithmetic import BENCH, ArithmeticStep, open_cached

ROW, CELL = re.compile(r"<tr.*?</tr>", re.DOTALL), re.compile(r'data-label="([^"]+)">(.*?)</t[dh]>', re.DOTALL)


def text_of(markup: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", markup).split()))


def rows(page: str, first: str) -> list[dict[str, str]]:
    """Return the rows of the tables whose first column is `first`: column → what stands there."""
    found = [{name: text_of(inner) for name, inner in CELL.findall(row)} for row in ROW.findall(page)]
    return [cells for cells in found if next(iter(cells), None) == first]


def test_the_sites_have_health_last_seen_certificate_version_and_rounds_and_the_silent_one_stands_first(
    browser: Any, north: Consortium
) -> None:
    heard = datetime.now(UTC)
    nodes = {1: NodeSeen("online", heard), 2: NodeSeen("offline", heard + timedelta(seconds=1))}
    browser.desk = Desk(north, fleet=lambda: nodes)
    browser.client = browser.another()
    browser.log_in("vera")
    page = browser.client.get("/sites").text
    worst, best = rows(page, "Site")
    assert (worst["Site"], worst["Health"]) == ("hospital-b", "silent")
    assert (best["Site"], best["Health"]) == ("hospital-a", "ok")
    for cells in (worst, best):
        assert cells["Last seen"].endswith(("ago", "now")) and cells["Certificate"] in ("396 days", "397 days")
        assert (cells["Code"], cells["Rounds"], cells["Faults"]) == (code_version(), "2", "0")
    assert "the SuperLink has missed two heartbeats of it" in text_of(page)
    overview = browser.client.get("/").text
    assert [cells["Site"] for cells in rows(overview, "Site")] == ["hospital-b", "hospital-a"]
    assert "/sites#hospital-b" in overview and "/sites#hospital-a" not in overview, "the one that is well needs nobody"


def test_a_site_that_fails_in_a_run_that_goes_on_stands_first_there_and_among_the_sites(
    browser: Any, north: Consortium, playing: Callable[..., Any]
) -> None:
    def opener(path: Any, study: Any) -> Any:
        if path.parent.name == "hospital-b":
            raise DataError("no case")
        return open_cached(path, study)

    nodes = {number: NodeSeen("online", datetime.now(UTC)) for number in (1, 2)}
    browser.desk = Desk(north, fleet=lambda: nodes)
    browser.client = browser.another()
    browser.log_in("vera")
    seen: list[tuple[str, str, str]] = []

    def look(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 1 and event.stage is Stage.GENERATOR:
            browser.desk.forget()
            seen.append(tuple(browser.client.get(path).text for path in ("/", "/sites", "/runs/live")))  # type: ignore[arg-type]

    playing(north, "live", 2, quorum=1, client=make_client(opener, BENCH), on_event=look)
    overview, sites, run = seen[0]
    assert "generator, round 2 of 2" in text_of(overview) and "worst: hospital-b (data)" in text_of(overview)
    assert [(each["Site"], each["Health"]) for each in rows(sites, "Site")] == [
        ("hospital-b", "failing"),
        ("hospital-a", "ok"),
    ]
    assert "answers data in live; ask the site what its log says" in text_of(sites)
    assert next((each["Site"], each["State"]) for each in rows(run, "Site")) == ("hospital-b", "data")


class AlwaysRight(ArithmeticStep):
    """The second hospital's discriminator tells every picture right, which is an alarm."""

    def __call__(self, batch: Any) -> dict[str, float]:
        return super().__call__(batch) | ({"win_rate": 1.0} if self._place.site_name == "hospital-b" else {})

    def behind(self) -> dict[str, int]:
        return super().behind() | {"win_rate": 2}


def test_an_alarm_stands_on_the_runs_page_and_its_site_first(
    browser: Any, north: Consortium, playing: Callable[..., Any]
) -> None:
    def builder(stage: Stage) -> Callable[[nn.Module, Workplace], AlwaysRight]:
        return AlwaysRight

    playing(north, "second", client=make_client(open_cached, replace(BENCH, step_builder=builder)))
    browser.log_in("vera")
    page = browser.client.get("/runs/second").text
    worst, best = rows(page, "Site")
    assert (worst["Site"], worst["State"], worst["Alarms"]) == ("hospital-b", "ok alarm", "2")
    assert (best["Site"], best["State"], best["Alarms"]) == ("hospital-a", "ok", "0")
    assert "discriminator-wins hospital-b synthesiser, round 1: 1, limit 0.98" in text_of(page)


def test_a_promoted_release_has_a_card_with_digest_signature_and_worst_site(
    browser: Any, north: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SigningKey.generate()
    key.save(north.signing_key)
    north.signing_pub.write_text(key.public.pem)
    digest = promote(north, north.run("first")).digest
    browser.log_in("vera")
    page = browser.client.get("/releases").text
    said = text_of(page)
    assert f"arithmetic {digest[:12]} signed Handed out" in said and f"code {code_version()}" in said
    assert f"Release {digest}" in said and f"Signed by {key.public.fingerprint}" in said
    assert "Nobody has measured it" in said and "No formal bound" in said and "Not attacked: nobody has tried." in said
    assert [each["Patients by site"] for each in rows(page, "Stage")] == ["hospital-a 2, hospital-b 2"] * 2
    judged = FigureFacts("dice", "whole tumour", "released", 0.8, 4, "hospital-b", 0.5)
    (release,) = releases(north)
    monkeypatch.setattr(browser.desk, "releases", lambda: (replace(release, figures=(judged,)),))
    (measured,) = rows(browser.client.get("/releases").text, "Measure")
    assert (measured["Worst site"], measured["All sites"], measured["Patients"]) == ("0.5 hospital-b", "0.8", "4")
