"""The command lines of the how-to pages, as a reader would type them, and what runs each of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
PAGES = tuple(sorted(path.name for path in HOW_TO.glob("*.md")))
PROGRAMS = ("gliofed-client ", "gliofed-server ", "gliofed-sim ")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_TEXT = re.compile(r"`((?:gliofed-(?:client|server|sim)|docker|make|systemctl|timedatectl) [^`]+)`")

WALKS: dict[str, tuple[str, ...]] = {
    "tests/deployment/test_pages.py": ("upgrade.md#1. Gather",),
    "tests/deployment/test_three_hospitals.py": (
        *("join.md", "consortium.md", "what-leaves.md", "firewall.md", "backup.md", "runbook.md"),
        *("site.md#4. Read and approve a study", "site.md#5. Stop, or take a patient out", "upgrade.md#3. Upgrade"),
    ),
    "tests/deployment/test_simulated_pages.py": (
        *("site.md#1. What is there", "site.md#2. What is wrong", "site.md#3. Prepare"),
        *("site.md#6. Complete cases with a release", "coordinator.md"),
    ),
}
"""Which test walks which pages or sections: it ends by comparing what it ran with `due`."""

ELSEWHERE = {
    "git clone … gliofed && cd gliofed && make setup": "the tests run in what `make setup` made; there is no network",
    "apt-get install nginx": "asks for root; tests/deployment/test_whole_way.py starts what it installs",
    "sh install.sh wheelhouse client": "tests/deploy/test_install.py",
    "sh install.sh --rollback": "tests/deploy/test_install.py",
    "systemctl restart gliofed-client": "no systemd here; tests/deploy/test_systemd.py judges the units",
    "docker compose -f deploy/compose.site.yaml up -d": "no engine; tests/deploy/test_containers.py judges the file",
    "make wheelhouse": "asks a package registry; tests/deploy/test_install.py installs from such folders",
    "timedatectl set-ntp true": "sets the machine's clock; tests/doctor/test_network.py reads when it is advised",
}
"""Every line of the pages that no walk runs → which test runs it, or why none can."""


def lines(place: str) -> list[str]:
    """Return the command lines of a page, or of `page#section`, in order, those in its text last; continued are one."""
    page, _, heading = place.partition("#")
    text = section(page, heading) if heading else (HOW_TO / page).read_text(encoding="utf-8")
    blocks = [block.replace("\\\n", " ") for kind, block in FENCE.findall(text) if kind == "sh"]
    found = [" ".join(line.split("#")[0].split()) for block in blocks for line in block.splitlines()]
    return [line for line in found if line] + [line for line in in_text(text) if not _runs_already(line)]


def in_text(text: str) -> list[str]:
    """Return the commands that running text names between backticks."""
    return [" ".join(line.split()) for line in IN_TEXT.findall(FENCE.sub("", text))]


def commands(place: str) -> list[str]:
    """Return the lines that call our programs."""
    return [line for line in lines(place) if line.startswith(PROGRAMS)]


def due(walk: str) -> set[str]:
    """Return the lines that a test must have run at its end."""
    return {line for place in WALKS[walk] for line in lines(place)} - ELSEWHERE.keys()


def section(page: str, heading: str) -> str:
    """Return the text of a page from a second-level heading to the next one."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {heading}\n")
    assert rest, f"{page} has no section {heading!r}"
    return rest.split("\n## ")[0]


def _runs_already(command: str) -> bool:
    """Return whether a block of a page has the same verb with all options of a command that stands in running text."""
    if not command.startswith(PROGRAMS):
        return False
    texts = [(HOW_TO / page).read_text(encoding="utf-8") for page in PAGES]
    blocks = "".join(
        block.replace("\\\n", " ") for text in texts for kind, block in FENCE.findall(text) if kind == "sh"
    )
    return any(_essence(command) <= _essence(line) for line in blocks.splitlines() if line.startswith(PROGRAMS))


def _essence(command: str) -> set[str]:
    """Return program, verb and options; `--json` is none, for the walks add it to the lines themselves."""
    program, verb, *words = command.split("#")[0].split()
    return {program, f"{program} {verb}", *(word for word in words if word.startswith("--") and word != "--json")}
