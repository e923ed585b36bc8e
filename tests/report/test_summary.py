import json

import pytest

from common.errors import ReleaseError
from simulations.report.summary import load_summary, write_summary


def test_a_summary_reads_back_as_it_was_written(summary, tmp_path):
    write_summary(tmp_path / "summary.json", summary)
    assert load_summary(tmp_path / "summary.json") == summary


def test_the_file_is_plain_json_without_nan(summary, tmp_path):
    write_summary(tmp_path / "summary.json", summary)

    def refuse(word):
        raise AssertionError(word)

    tree = json.loads((tmp_path / "summary.json").read_text("utf-8"), parse_constant=refuse)
    assert tree["schema_version"] == 1
    assert "Research use only" in tree["research_use_only"]


def test_missed_targets_are_listed(summary):
    assert [target.name for target in summary.missed] == ["core change"]


def test_a_foreign_file_is_refused_with_the_field_that_does_not_fit(summary, tmp_path):
    tree = summary.model_dump(mode="json") | {"schema_version": 2}
    (tmp_path / "summary.json").write_text(json.dumps(tree))
    with pytest.raises(ReleaseError, match="schema_version"):
        load_summary(tmp_path / "summary.json")
    with pytest.raises(ReleaseError, match="cannot be read"):
        load_summary(tmp_path / "missing.json")
