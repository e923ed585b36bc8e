"""The commands of the how-to pages, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PROGRAMS = ("gliofed-client ", "gliofed-server ")
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the lines of a page's shell blocks that call our programs, in order; continued lines are one."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    lines = [line.strip() for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [" ".join(line.split("#")[0].split()) for line in lines if line.startswith(PROGRAMS)]


def section(page: str, heading: str) -> str:
    """Return the text of a page from a second-level heading to the next one."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {heading}\n")
    assert rest, f"{page} has no section {heading!r}"
    return rest.split("\n## ")[0]
