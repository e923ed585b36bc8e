"""What the how-to pages ask of their readers: every line of them runs somewhere, and to join takes few of them."""

from __future__ import annotations

import hashlib
import re
import sys

from tests.deployment.pages import ELSEWHERE, HOW_TO, PAGES, ROOT, WALKS, commands, due, lines, section
from tests.deployment.walk import Party

STEPS = ("1. Begin", "2. Join", "3. Look whether it will work", "4. Serve", "5. Read a plan and approve it")
WALK = "tests/deployment/test_pages.py"


def test_a_hospital_joins_with_five_commands_and_at_most_three_edits(capsys):
    listed = commands("join.md")
    needed = [line for step in STEPS for line in listed if line in section("join.md", step)]
    edits = re.findall(r"^\d\. `\[", section("join.md", STEPS[0]), re.MULTILINE)
    with capsys.disabled():
        sys.stdout.write(f"\nto join: {len(needed)} commands, {len(edits)} edits\n")
    assert len(needed) == 5
    assert len(edits) == 3


def test_every_line_of_the_pages_is_run_by_a_walk_or_said_to_run_elsewhere():
    walked = set.union(*map(due, WALKS))
    missing = [(page, line) for page in PAGES for line in lines(page) if line not in walked | ELSEWHERE.keys()]
    assert missing == []


def test_nothing_is_said_of_a_line_that_no_page_has():
    assert ELSEWHERE.keys() - {line for page in PAGES for line in lines(page)} == set()


def test_a_test_that_is_said_to_run_a_line_is_there_and_walks_end_by_looking_back():
    named = [path for reason in ELSEWHERE.values() for path in re.findall(r"tests/\S+\.py", reason)]
    assert [path for path in named if not (ROOT / path).is_file()] == []
    assert all("due(WALK)" in (ROOT / walk).read_text("utf-8") for walk in WALKS)


def test_the_digest_that_is_compared_is_that_of_the_list(tmp_path):
    (tmp_path / "wheelhouse").mkdir()
    (tmp_path / "wheelhouse" / "SHA256SUMS").write_bytes(b"0 one.whl\n")
    (line,) = due(WALK)
    assert Party(tmp_path, {}).type(line).split()[0] == hashlib.sha256(b"0 one.whl\n").hexdigest()


def test_who_wonders_what_may_leave_is_told_who_could_learn_what():
    for page in ("join.md", "firewall.md", "what-leaves.md"):
        assert "[threat model](../concepts/threat-model.md)" in (HOW_TO / page).read_text("utf-8"), page
    assert "[threat model](concepts/threat-model.md)" in (ROOT / "docs" / "index.md").read_text("utf-8")
