"""What goes together: page, table and parser say the same of all combinations."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from common.errors import StudyError
from common.settings.compatibility import CONFLICTS, Protection, conflict
from common.study import parse_study

ALL = tuple(Protection)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md"
ON = {
    Protection.SECURE: ("secure_aggregation", "enabled = true", "enabled = false"),
    Protection.ROBUST: ("aggregation", 'rule = "median"', 'rule = "mean"'),
    Protection.PRIVATE: ("privacy", 'stages = ["generator"]', "stages = []"),
    Protection.CODED: ("wire", 'up = "int8"', 'up = "lossless"'),
    Protection.NORMS: ("gate", "norm_limit = 10.0", "norm_limit = 0.0"),
}


def study_with(asked):
    """The text of a study that asks for exactly these."""
    settings = {table: on if each in asked else off for each, (table, on, off) in ON.items()}
    tables = "".join(f"[{table}]\n{setting}\n" for table, setting in settings.items())
    sites = 'sites = ["a", "b", "c"]\nreference_site = "a"\n'
    return f'name = "both"\n{sites}{tables}[stages.generator]\nrounds = 1\n'


SUBSETS = [frozenset(subset) for size in range(len(ALL) + 1) for subset in combinations(ALL, size)]


@pytest.mark.parametrize("asked", SUBSETS, ids=lambda asked: " + ".join(sorted(asked)) or "nothing")
def test_a_study_is_refused_exactly_where_two_of_its_protections_exclude_each_other(asked):
    excluded = [pair for pair in CONFLICTS if pair <= asked]
    if excluded:
        with pytest.raises(StudyError, match="set ") as refused:
            parse_study(study_with(asked))
        assert "secure_aggregation.enabled" in str(refused.value)
    else:
        assert parse_study(study_with(asked)).protections == asked


def test_the_page_says_of_every_pair_what_the_table_says():
    lines = re.findall(r"^\| ?([\w ]*?) ?\|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    heads = [head.strip() for head in lines[0][1].split("|")]
    assert heads == [each.value for each in Protection] == [row for row, _ in lines[1:]]
    for row, cells in lines[1:]:
        for head, said in zip(heads, (cell.strip() for cell in cells.split("|")), strict=True):
            pair = frozenset({Protection(row), Protection(head)})
            assert said == ("" if row == head else "no" if pair in CONFLICTS else "yes"), (row, head)


def test_every_refusal_says_what_to_change_of_either():
    for pair, text in CONFLICTS.items():
        assert len(pair) == 2 and conflict(pair) == text
        assert "secure_aggregation.enabled = false" in text and text.count("set ") == 1
