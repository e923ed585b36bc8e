"""What the console refuses: strangers, viewers who would act, forged forms, guesses, floods, odd hosts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from server.console.accounts import load_accounts, save_accounts
from server.console.desk import accounts_file, actions_file
from server.console.doorkeeper import MAX_BODY_BYTES
from server.console.login_limits import FREE
from server.console.sessions import ABSOLUTE_S, IDLE_S, MOST, Sessions
from server.console.visits import HEADER
from server.consortium.folder import Consortium
from server.journal import Journal

PAGES = ("/", "/sites", "/runs", "/runs/first", "/releases", "/runs/first/stop")


@pytest.mark.parametrize("page", PAGES)
def test_nobody_sees_a_page_before_logging_in(page: str, browser: Any) -> None:
    answer = browser.client.get(page)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "hospital" not in answer.text


def test_a_page_that_refreshes_itself_is_sent_to_the_form_whole(browser: Any) -> None:
    answer = browser.client.get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"], answer.text) == (401, "/login", "")


@pytest.mark.parametrize("what", ["pause", "resume", "stop"])
def test_nobody_acts_before_logging_in_and_a_viewer_never(what: str, browser: Any, north: Consortium) -> None:
    assert browser.client.post(f"/runs/first/{what}").status_code == 401
    browser.log_in("vera")
    form = {"csrf": browser.csrf(), "typed": "first"}
    assert browser.client.get(f"/runs/first/{what}").status_code == 403
    assert browser.client.post(f"/runs/first/{what}", data=form).status_code == 403
    assert "do-pause" not in browser.client.get("/runs/first").text
    assert asked(north) == []


def test_a_form_without_its_sessions_token_is_refused_and_the_header_does_as_well(
    browser: Any, north: Consortium
) -> None:
    browser.log_in("maria")
    other = browser.another()
    browser.log_in("vera", client=other)
    foreign = browser.token(other.get("/").text)
    for forged in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": "ü\udcff"}):
        form = {key: value.encode("utf-8", "surrogateescape") for key, value in forged.items()}
        assert browser.client.post("/runs/first/pause", data=form).status_code == 403
        assert browser.client.post("/logout", data=form).status_code == 403
    own = browser.csrf()
    assert browser.client.post("/runs/first/pause", headers={HEADER: foreign}, data={"csrf": own}).status_code == 403
    from_elsewhere = {HEADER: own, "Sec-Fetch-Site": "cross-site"}
    assert browser.client.post("/runs/first/pause", headers=from_elsewhere).status_code == 403
    assert browser.client.post("/runs/first/pause", headers={HEADER: own}).status_code == 409, "the run is complete"
    assert asked(north) == []


def test_the_form_that_logs_in_is_bound_to_the_browser_it_was_given_to(browser: Any) -> None:
    somebody_elses = browser.token(browser.another().get("/login").text)
    form = {"csrf": somebody_elses, "name": "maria", "password": "correct horse battery"}
    assert browser.client.post("/login", data=form).status_code == 403
    browser.client.get("/login")
    assert browser.client.post("/login", data=form).status_code == 403


def test_a_session_that_somebody_else_chose_is_never_taken(browser: Any) -> None:
    chosen = {"gliofed": "chosen-by-somebody-else"}
    given = browser.log_in("maria", client=browser.another(cookies=chosen)).headers["set-cookie"]
    token = given.partition(";")[0].removeprefix("gliofed=")
    assert token != chosen["gliofed"]
    assert browser.another(cookies={"gliofed": token}).get("/").status_code == 200
    assert browser.another(cookies=chosen).get("/").status_code == 303


def test_a_cookie_is_for_this_host_and_no_script_and_over_tls_alone_where_there_is_tls(browser: Any) -> None:
    words = browser.log_in("maria").headers["set-cookie"].split(",")[0].lower()
    assert words.startswith("gliofed=") and "secure" not in words
    assert all(word in words for word in ("httponly", "samesite=strict", "path=/"))
    browser.desk.secure = True
    secure = browser.another(base_url="https://testserver")
    answer = browser.log_in("maria", client=secure)
    words = answer.headers["set-cookie"].split(",")[0]
    assert words.startswith("__Host-gliofed=") and "Secure" in words and "Domain" not in words
    assert "max-age=" in answer.headers["Strict-Transport-Security"]


def test_a_session_ends_when_nobody_is_there_and_a_page_that_refreshes_itself_is_nobody(browser: Any) -> None:
    browser.log_in("maria")
    for _ in range(4):
        browser.now_s[0] += IDLE_S / 5
        assert browser.client.get("/", headers={"HX-Request": "true"}).status_code == 200
    browser.now_s[0] += IDLE_S / 5
    assert browser.client.get("/").status_code == 303


def test_a_session_ends_after_twelve_hours_however_busy_it_is(browser: Any) -> None:
    browser.log_in("maria")
    steps = int(ABSOLUTE_S / (IDLE_S / 2))
    for _ in range(steps - 1):
        browser.now_s[0] += IDLE_S / 2
        assert browser.client.get("/login").headers["location"] == "/"
        assert browser.client.get("/releases").status_code == 200
    browser.now_s[0] += IDLE_S / 2
    assert browser.client.get("/releases").status_code == 303


def test_logging_out_ends_the_session_on_the_server_too(browser: Any) -> None:
    browser.log_in("maria")
    kept = dict(browser.client.cookies)
    assert browser.client.post("/logout", data={"csrf": browser.csrf()}).headers["location"] == "/login"
    assert browser.another(cookies=kept).get("/").status_code == 303


def test_an_account_that_is_removed_or_changed_is_out_at_once_and_a_role_holds_at_once(
    browser: Any, north: Consortium
) -> None:
    path = accounts_file(north)
    known = load_accounts(path)
    browser.log_in("maria")
    viewer = known["maria"].model_copy(update={"role": known["vera"].role})
    save_accounts(path, [viewer])
    assert browser.client.get("/").status_code == 200
    assert browser.client.get("/runs/first/stop").status_code == 403
    save_accounts(path, [known["vera"]])
    assert browser.client.get("/").status_code == 303
    save_accounts(path, known.values())
    assert browser.client.get("/").status_code == 303, "the session is gone, not asleep"


def test_only_the_hash_of_a_token_is_kept_and_so_many_sessions_at_most(played: Consortium) -> None:
    sessions, account = Sessions(lambda: 0.0), load_accounts(accounts_file(played))["vera"]
    tokens = [sessions.begin(account) for _ in range(MOST + 1)]
    held = vars(sessions)["_held"]
    assert len(held) == MOST and not set(tokens) & set(held)
    assert sessions.find(tokens[0], by_hand=True) is None and sessions.find(tokens[-1], by_hand=True) is not None


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("server.console.log_in.is_right", lambda password, known: bool(seen.append(known)))
    wrong, nobody = (browser.log_in(name, "not the password", browser.another()) for name in ("maria", "nobody"))
    assert wrong.status_code == nobody.status_code == 401
    assert browser.token(wrong.text) != browser.token(nobody.text)
    assert plain(wrong.text) == plain(nobody.text)
    assert len(seen) == 2 and seen[1] is None, "a name that does not exist is worked on as well"


def test_guessing_takes_longer_with_every_failure_by_account_and_by_address(browser: Any) -> None:
    for _ in range(FREE):
        assert browser.log_in("maria", "a wrong password").status_code == 401
    answer = browser.log_in("maria", "a wrong password")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert browser.log_in("maria").status_code == 429, "the right one has to wait as well"
    assert browser.log_in("vera").status_code == 429, "the address has failed, whatever the name"
    waits = []
    for _ in range(4):
        browser.now_s[0] += float(answer.headers["Retry-After"])
        browser.log_in("maria", "a wrong password")
        answer = browser.log_in("maria", "a wrong password")
        waits.append(int(answer.headers["Retry-After"]))
    assert waits == [2, 4, 8, 16]
    browser.now_s[0] += 16
    assert browser.log_in("maria").status_code == 303


def test_an_account_of_ones_own_buys_no_guesses_at_somebody_elses(browser: Any) -> None:
    limits = browser.desk.limits
    for _ in range(FREE):
        assert limits.begin("maria", "192.0.2.7") == 0
        assert limits.begin("vera", "192.0.2.8") == 0
        limits.succeeded("vera", "192.0.2.8")
    assert limits.begin("maria", "192.0.2.9") == 1, "the account was tried, whatever the address"
    assert limits.begin("vera", "192.0.2.7") == 1, "the address has failed"
    assert limits.begin("vera", "192.0.2.8") == 0, "who succeeds does not wait"
    for _ in range(12):
        browser.now_s[0] += limits.begin("nobody-1", "127.0.0.1")
    assert limits.begin("nobody-2", "127.0.0.1") <= 60, "all who come through a tunnel have one address"
    for _ in range(FREE):
        limits.begin("nobody-3", "2001:db8::1")
    assert limits.begin("nobody-2", "2001:db8::ffff") == 1, "one person has a whole network of IPv6"


def test_a_body_that_is_too_large_is_refused_before_anybody_reads_it(browser: Any) -> None:
    large = b"x" * (MAX_BODY_BYTES + 1)
    assert browser.client.post("/login", content=large).status_code == 413
    assert browser.client.post("/login", content=iter([large[:5000], large[5000:]])).status_code == 413
    assert browser.client.post("/login", content=b"", headers={"Content-Length": "-1"}).status_code == 413
    assert browser.client.post("/login", content=large[: MAX_BODY_BYTES - 1]).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "gliofed.example.org.evil.example", "", "[::1", "testserver@evil"])
def test_a_host_that_is_not_ours_is_refused(host: str, browser: Any) -> None:
    answer = browser.client.get("/login", headers={"Host": host})
    assert answer.status_code == 421 and "form" not in answer.text


def test_every_answer_carries_the_headers_that_hold_a_browser_back(browser: Any) -> None:
    browser.log_in("maria")
    for page in (*PAGES, "/nothing", "/static/htmx.js"):
        headers = browser.client.get(page).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert ("no-store" in headers["Cache-Control"]) == (not page.startswith("/static/"))


def test_no_page_carries_a_style_a_script_or_an_address_elsewhere(browser: Any) -> None:
    browser.log_in("maria")
    for page in PAGES:
        text = browser.client.get(page).text
        assert " style=" not in text and "<style" not in text and " onclick" not in text
        assert text.count("<script src=") == text.count("<script") == 2
        assert text.replace("http://127.0.0.1:5000", "").count("http") == 0


def test_a_name_with_markup_is_shown_as_text(browser: Any, north: Consortium) -> None:
    (north.runs / "<img src=x>").mkdir()
    browser.log_in("vera")
    for page in ("/", "/runs", "/runs/%3Cimg%20src=x%3E"):
        text = browser.client.get(page).text
        assert "&lt;img src=x&gt;" in text and "<img" not in text


def test_no_page_shows_a_folder(browser: Any, north: Consortium) -> None:
    (north.runs / "torn").mkdir()
    (north.runs / "torn" / "journal").mkdir()
    (north.runs / "torn" / "journal" / "journal.sqlite").write_bytes(b"no database" * 100)
    (north.releases / ("0" * 64)).mkdir(parents=True)
    (north.releases / ("0" * 64) / "release.json").write_text("{}")
    browser.log_in("maria")
    for page in (*PAGES, "/runs/torn"):
        text = browser.client.get(page).text
        assert str(north.folder) not in text and "hospitals/" not in text and "case-" not in text
    assert "damaged" in browser.client.get("/runs/torn").text
    assert "cannot be verified" in browser.client.get("/releases").text


def test_an_error_is_a_page_without_a_word_about_the_inside(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst() -> None:
        raise RuntimeError("secret of the inside")

    browser.log_in("maria")
    monkeypatch.setattr(browser.desk, "runs", burst)
    answer = browser.another(raise_server_exceptions=False, cookies=dict(browser.client.cookies)).get("/runs")
    assert answer.status_code == 500 and "An error" in answer.text
    assert "secret" not in answer.text and "Traceback" not in answer.text


def test_a_folder_that_cannot_be_read_is_said_without_its_path(browser: Any, north: Consortium) -> None:
    browser.log_in("maria")
    north.roster.write_text("nonsense = [")
    answer = browser.client.get("/sites")
    assert answer.status_code == 503 and str(north.folder) not in answer.text


@pytest.mark.parametrize("name", ["..%2F..%2Fsecret", "%2e%2e", "first%00", "first%2Fjournal", "<b>"])
def test_a_name_that_is_no_run_is_not_found_and_never_made_a_path(name: str, browser: Any) -> None:
    browser.log_in("maria")
    for page in (f"/runs/{name}", f"/runs/{name}/stop"):
        answer = browser.client.get(page)
        assert answer.status_code in (404, 307, 303) and "<b>" not in answer.text
    form = {"csrf": browser.csrf(), "typed": name}
    assert browser.client.post(f"/runs/{name}/stop", data=form).status_code in (404, 405)


def test_a_stop_needs_the_runs_name_and_is_written_down_before_it_is_asked(
    browser: Any, north: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.console.steering_pages.may", lambda run: ["stop"])
    browser.log_in("maria")
    csrf = browser.csrf()
    assert browser.client.post("/runs/first/stop", data={"csrf": csrf, "typed": "frist"}).status_code == 422
    assert asked(north) == []
    answer = browser.client.post("/runs/first/stop", data={"csrf": csrf, "typed": "first"})
    assert answer.status_code == 409 and "did not take it" in answer.text, "the run is complete"
    lines = [json.loads(line) for line in actions_file(north).read_text().splitlines()]
    assert [(line["who"], line["what"], line.get("run"), line.get("refused")) for line in lines] == [
        ("maria", "log-in", None, None),
        ("maria", "stop", "first", None),
        ("maria", "stop", "first", "federation"),
    ]
    assert actions_file(north).stat().st_mode & 0o077 == 0
    assert "stop" in browser.client.get("/runs/first").text


def test_what_cannot_be_written_down_is_not_done(
    browser: Any, north: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.console.steering_pages.may", lambda run: ["pause"])
    browser.log_in("maria")
    csrf = browser.csrf()
    actions_file(north).unlink()
    actions_file(north).mkdir()
    assert browser.client.post("/runs/first/pause", data={"csrf": csrf}).status_code == 503
    assert asked(north) == []


def asked(consortium: Consortium) -> list[str]:
    """Return what was asked of the run."""
    with Journal.look_into(consortium.run("first")) as journal:
        control = journal.requests.asked()
    return [word for word, is_so in (("pause", control.paused), ("stop", control.stopped)) if is_so]


def plain(page: str) -> str:
    """Return a page without its token."""
    return re.sub(r'name="csrf" value="[^"]+"', "", page)
