"""Log records are lines for people or JSON for machines, and go to one place."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.logs import ROOT, configure, logger


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    yield
    for handler in list(logging.getLogger(ROOT).handlers):
        logging.getLogger(ROOT).removeHandler(handler)
        handler.close()
    logging.getLogger(ROOT).propagate = True
    logging.getLogger(ROOT).setLevel(logging.NOTSET)


def test_json_lines_name_level_logger_and_the_kind_of_exception(tmp_path: Path) -> None:
    configure("info", as_json=True, file=tmp_path / "log")
    logger("rounds").debug("not this")
    try:
        raise ValueError("secret")
    except ValueError:
        logger("rounds").exception("round %d failed", 3)
    (line,) = (tmp_path / "log").read_text().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "error",
        "logger": "gliofed.rounds",
        "message": "round 3 failed",
        "exception": "ValueError",
    }


def test_people_read_stderr_and_a_second_call_replaces_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(file=tmp_path / "log")
    configure("warning")
    logger("site").warning("late")
    assert "WARNING gliofed.site: late" in capsys.readouterr().err
    assert (tmp_path / "log").read_text() == ""
