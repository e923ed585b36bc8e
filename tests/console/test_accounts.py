"""Who may enter: the verbs, the file, and where a console may listen."""

from __future__ import annotations

import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.console import run as call
from common.errors import StudyError
from server.cli import PROGRAM, app
from server.console.accounts import Role, load_accounts, make_account, parse_accounts, save_accounts
from server.console.actions import Actions, What, parse_action
from server.console.desk import accounts_file
from server.console.doorkeeper import host_of
from server.console.htmx import htmx_script
from server.console.passwords import hash_password, is_right
from server.console.serving import check_link, check_listening, hosts_of
from server.consortium.folder import Consortium


def server(*words: str | Path) -> int:
    return call(app, PROGRAM, [str(word) for word in words])


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is typed where a password is asked, one after the other."""
    lines: list[str] = []
    monkeypatch.setattr("typer.prompt", lambda *_, **more: lines.pop(0))
    return lines


def test_an_account_is_added_changed_listed_and_removed(
    north: Consortium, typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    typed += ["a long enough password", "another long password"]
    assert server("account", "add", north.folder, "ole", "--role", "operator") == 0
    path = accounts_file(north)
    first = load_accounts(path)["ole"]
    assert first.role is Role.OPERATOR and is_right("a long enough password", first.password_hash)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and "long enough" not in path.read_text()
    assert server("account", "add", north.folder, "ole") == 0
    assert load_accounts(path)["ole"].role is Role.VIEWER
    assert capsys.readouterr().out == "ole: operator, added\nole: viewer, changed\n"
    assert server("account", "list", north.folder, "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["maria", "ole", "vera"]
    assert server("account", "remove", north.folder, "ole") == 0
    assert server("account", "remove", north.folder, "ole") == 2
    assert "no such account; there are maria, vera" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("ole", "too short", "12 to 256 characters"),
        ("ole", "x" * 257, "12 to 256 characters"),
        ("longer.name", "longer.name1", "little more than the account's name"),
        ("Ole", "a long enough password", "lower-case"),
        ("../ole", "a long enough password", "lower-case"),
    ],
)
def test_a_weak_password_and_an_odd_name_are_refused(
    name: str, password: str, said: str, north: Consortium, typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    typed += [password]
    before = accounts_file(north).read_bytes()
    assert server("account", "add", north.folder, name) == 2
    assert said in capsys.readouterr().err and accounts_file(north).read_bytes() == before


def test_a_password_is_asked_without_being_shown_and_twice(north: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("typer.prompt", lambda text, **more: asked.update(more) or "a long enough password")
    assert server("account", "add", north.folder, "ole") == 0
    assert asked["hide_input"] and asked["confirmation_prompt"]


def test_a_hash_is_argon2id_and_right_for_its_password_alone(real_costs: None) -> None:
    made = hash_password("Straße und Über", "ole")
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "the costs of RFC 9106 for 64 MiB"
    assert is_right("Straße und U\u0308ber", made), "the same letters from another keyboard"
    assert not is_right("Strasse und Uber", made)
    assert not is_right("nobody has this password", None), "nobody is let in by the hash that stands for nobody's"
    assert not is_right("anything", "no hash")


def test_a_file_that_others_can_read_or_that_is_damaged_is_refused(north: Consortium) -> None:
    path = accounts_file(north)
    path.chmod(0o640)
    with pytest.raises(StudyError, match="chmod 600"):
        load_accounts(path)
    path.chmod(0o600)
    twice = json.loads(path.read_text())
    twice["accounts"].append(twice["accounts"][0])
    for damaged in (json.dumps(twice), path.read_text().replace("operator", "admin"), "[]", ""):
        with pytest.raises(StudyError):
            parse_accounts(damaged.encode())
    account = load_accounts(path)["vera"]
    with pytest.raises(StudyError, match="more than 200"):
        save_accounts(path, [make_account(f"v{number}", Role.VIEWER, account.password_hash) for number in range(201)])


LEAVES = st.none() | st.text(max_size=9) | st.integers()
KEYS = st.sampled_from(["accounts", "name", "role", "schema_version", "at", "who", "what"])
TREES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each), max_leaves=8)


@given(st.binary(max_size=300) | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_whatever_lies_in_the_files_is_read_or_refused_and_never_more(blob: bytes) -> None:
    assert parse_action(blob) is None
    with suppress(StudyError):
        assert parse_accounts(blob) == {}


@given(st.lists(st.text(max_size=40), max_size=3))
def test_a_host_is_read_without_an_error_whatever_it_is(values: list[str]) -> None:
    host = host_of(values)
    assert host is None or (len(values) == 1 and host in values[0].lower())


def test_actions_are_lines_for_their_owner_alone_and_a_torn_one_hides_no_other(tmp_path: Path) -> None:
    actions = Actions(tmp_path / "console" / "actions.jsonl")
    assert actions.of_run("first") == []
    actions.note("maria", What.PAUSE, "first")
    with (tmp_path / "console" / "actions.jsonl").open("ab") as file:
        file.write(b'{"at": "2026\n')
    actions.note("maria", What.RESUME, "first")
    actions.note("maria", What.PAUSE, "second")
    assert [action.what for action in actions.of_run("first")] == [What.RESUME, What.PAUSE]


def test_a_console_in_clear_listens_on_this_machine_alone(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.3.4.5"):
        check_listening(host, None, None)
    for host in ("0.0.0.0", "10.0.0.1", "gliofed.example.org"):  # noqa: S104
        with pytest.raises(StudyError, match="ssh -L"):
            check_listening(host, None, None)
    pem = tmp_path / "server.crt"
    with pytest.raises(StudyError, match="belong together"):
        check_listening("127.0.0.1", pem, None)
    with pytest.raises(StudyError, match="is not there"):
        check_listening("10.0.0.1", pem, pem)
    pem.touch()
    check_listening("10.0.0.1", pem, pem)
    assert hosts_of("10.0.0.1", ["gliofed.example.org"]) == {"10.0.0.1", "gliofed.example.org"}
    assert "localhost" in hosts_of("127.0.0.1", [])


def test_a_link_to_plots_is_an_address_of_the_web() -> None:
    assert check_link("mlflow", "https://plots.example.org") == "https://plots.example.org"
    for link in ("javascript:alert(1)", "plots", "https://"):
        with pytest.raises(StudyError, match="http"):
            check_link("mlflow", link)


def test_a_console_that_nobody_may_enter_does_not_start(north: Consortium, capsys: pytest.CaptureFixture[str]) -> None:
    accounts_file(north).unlink()
    assert server("console", north.folder) == 2
    assert "account add" in capsys.readouterr().err


def test_htmx_comes_from_an_installed_package() -> None:
    assert b"htmx" in htmx_script()[:200]
