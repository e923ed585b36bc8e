"""The console in a real browser: live progress, steering, keyboard alone, two widths, nothing from elsewhere."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from server.console.app import make_app
from server.console.desk import Desk
from server.console.serving import hosts_of, server_of
from server.consortium.folder import Consortium
from server.events import RoundFinished

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
ROUNDS = 3
REFRESH_MS = 5500
"""A little more than the time after which the overview asks again."""


@dataclass
class Watched:
    """A run on a thread, which goes on to its next round when it is let."""

    play: Callable[..., Any]
    consortium: Consortium
    may: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    began: threading.Event = field(default_factory=threading.Event)
    counted: list[int] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def hear(self, event: Any) -> None:
        if isinstance(event, RoundFinished):
            self.counted.append(event.round)
            self.began.set()
            assert self.may.acquire(timeout=60)

    def begin(self) -> threading.Thread:
        def work() -> None:
            self.results.append(self.play(self.consortium, "live", ROUNDS, on_event=self.hear))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert self.began.wait(60)
        return thread


@contextmanager
def served(desk: Desk, certificate: Path | None = None, key: Path | None = None) -> Iterator[str]:
    """Serve the console on a free port of this machine; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = server_of(make_app(desk, hosts_of("127.0.0.1", [])), "127.0.0.1", port, certificate, key)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    assert Path(CHROMIUM).is_file(), f"{CHROMIUM} is not installed: make system"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def place(chromium: Any, north: Consortium) -> Iterator[SimpleNamespace]:
    """A page at the console of `north`, and all that it asked for and complained of."""
    asked: list[str] = []
    complained: list[str] = []
    with served(Desk(north)) as address:
        context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: complained.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complained.append(str(error)))
        yield SimpleNamespace(page=page, address=address, asked=asked, complained=complained)
        context.close()
    assert [url for url in asked if not url.startswith(address)] == []
    assert complained == []


def log_in(page: Page, name: str = "maria") -> None:
    """Log in by the keyboard alone: the first field has the focus."""
    password = {"maria": "correct horse battery", "vera": "staple of the viewer"}[name]
    page.goto("/login")
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus, as somebody without a mouse does."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


def test_a_run_is_watched_paused_and_resumed_by_keyboard_without_a_reload(
    place: SimpleNamespace, north: Consortium, playing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.control.POLL_S", 0.05)
    run, page = Watched(playing, north), place.page
    thread = run.begin()
    log_in(page)
    tab_to(page, "#run-live")
    page.keyboard.press("Enter")
    live = page.locator("#live")
    expect(live).to_contain_text("generator, round 2 of 3")
    page.evaluate("document.body.dataset.loaded = 'once'")
    tab_to(page, "#do-pause")

    run.may.release()
    expect(live).to_contain_text("generator, round 3 of 3")
    assert page.evaluate("document.body.dataset.loaded") == "once", "it came by itself, the page stayed"
    expect(page.locator("#do-pause")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/live/pause")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/live")
    expect(page.locator("h1")).to_contain_text("paused")
    expect(live).to_contain_text("maria pause")

    counted = list(run.counted)
    for _ in range(2 * ROUNDS):
        run.may.release()
    page.wait_for_timeout(700)
    assert run.counted == counted and thread.is_alive(), "it stands still although nobody holds it up"
    tab_to(page, "#do-resume")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/live/resume")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/live")
    thread.join(60)
    assert run.results[0].status == "complete"
    expect(page.locator("h1")).to_contain_text("complete")
    expect(page.locator("#do-stop")).to_have_count(0)

    tab_to(page, "form.who button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login")
    page.goto("/runs/live")
    assert page.url.endswith("/login")


def test_a_page_whose_session_ended_goes_to_the_form_by_itself_and_a_silent_console_is_said_to_be_silent(
    place: SimpleNamespace,
) -> None:
    page = place.page
    page.clock.install()
    log_in(page, "vera")
    page.route("**/*", lambda route: route.abort())
    page.clock.run_for(REFRESH_MS)
    expect(page.locator("#stale")).to_be_visible()
    page.unroute("**/*")
    page.clock.run_for(REFRESH_MS)
    expect(page.locator("#stale")).to_be_hidden()
    page.context.clear_cookies()
    page.clock.run_for(REFRESH_MS)
    page.wait_for_url("**/login")
    said = [each for each in place.complained if not each.startswith(("htmx:", "Failed to load resource"))]
    assert said == [], "what was refused and what failed, and nothing else"
    place.complained.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_no_page_is_wider_than_its_screen_and_all_its_words_can_be_read(
    width: int, scheme: Any, place: SimpleNamespace, tmp_path: Path
) -> None:
    page = place.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    log_in(page)
    for path in ("/", "/sites", "/runs", "/runs/first", "/releases", "/runs/first/stop"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        faint = page.evaluate(CONTRASTS)
        assert faint == [], path


def test_over_tls_a_session_is_a_cookie_that_no_plain_connection_carries(north: Consortium) -> None:
    trusted = ssl.create_default_context(cafile=str(north.ca))
    with (
        served(Desk(north, secure=True), north.server_certificate, north.server_key) as address,
        httpx.Client(base_url=address, verify=trusted) as client,
    ):
        page = client.get("/login")
        form = {
            "name": "vera",
            "password": "staple of the viewer",
            "csrf": page.text.partition('csrf" value="')[2][:64],
        }
        answer = client.post("/login", data=form)
        assert answer.status_code == 303 and "Secure" in answer.headers["set-cookie"]
        assert client.get("/").status_code == 200 and "__Host-gliofed" in client.cookies
        assert "server" not in answer.headers, "what serves it is nobody's business"


CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    const words = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (!words || node.tagName === "SCRIPT" || !node.checkVisibility()) continue;
    const [one, two] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    if ((one + 0.05) / (two + 0.05) < 4.5) faint.push(node.outerHTML.slice(0, 80));
  }
  return faint;
}"""
"""Returns every element whose text stands out by less than WCAG's AA asks for, 4.5 to 1."""
