"""How much a hospital has to do to join, by the page that tells it."""

from __future__ import annotations

import re
import sys

from tests.deployment.pages import commands, section

STEPS = ("1. Begin", "2. Join", "3. Look whether it will work", "4. Serve", "5. Read a plan and approve it")


def test_a_hospital_joins_with_five_commands_and_at_most_three_edits(capsys):
    listed = commands("join.md")
    needed = [line for step in STEPS for line in listed if line in section("join.md", step)]
    edits = re.findall(r"^\d\. `\[", section("join.md", STEPS[0]), re.MULTILINE)
    with capsys.disabled():
        sys.stdout.write(f"\nto join: {len(needed)} commands, {len(edits)} edits\n")
    assert len(needed) == 5
    assert len(edits) == 3
