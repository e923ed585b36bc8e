"""`site.toml` is parsed strictly, and each problem names the line to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.config import load_site, parse_site
from common.errors import StudyError
from common.sequences import Sequence

MINIMAL = 'name = "a"\nfolder = "scans"\nworkdir = "work"\n'


def test_relative_paths_start_at_the_file_and_defaults_are_careful(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(MINIMAL)
    site = load_site(tmp_path / "site.toml")
    assert site.folder == tmp_path.resolve() / "scans"
    assert site.policy.minimum_patients == 5
    assert site.policy.allows(Sequence.T1)
    assert not site.policy.approve_everything


def test_a_policy_limits_sequences(tmp_path: Path) -> None:
    policy = parse_site(MINIMAL + '[policy]\nsequences = ["T2"]\n', tmp_path).policy
    assert policy.allows(Sequence.T2) and not policy.allows(Sequence.T1)


def test_a_simulation_may_approve_everything(tmp_path: Path) -> None:
    assert parse_site(MINIMAL + "[policy]\napprove_everything = true\n", tmp_path).policy.approve_everything


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "colour = 1\n", "site:4: colour: unknown key"),
        ('name = "a"\n', "folder: missing"),
        (MINIMAL.replace('"a"', '"Hospital A"'), "site:1: name: 'Hospital A' must be"),
        (MINIMAL.replace('"work"', '"~no-such-user/work"'), "site: workdir: '~no-such-user/work' begins with a user"),
        (MINIMAL.replace('"work"', '"scans/work"'), "site:3: workdir: lies inside folder"),
        (
            MINIMAL + '[policy]\nminimum_patients = "5"\n',
            "site:5: policy.minimum_patients: Input should be a valid int",
        ),
        (MINIMAL + "[policy]\nminimum_patients = 0\n", "site:5: policy.minimum_patients"),
        (MINIMAL + '[policy]\napproved_studies = ["*"]\n', "site:5: policy.approved_studies: unknown key"),
        (MINIMAL + '[layout.patterns]\nT9 = "{case}.nii"\n', "'T9' is no sequence"),
        (MINIMAL + '[layout.patterns]\nT1 = "a.nii"\n', "needs {case}"),
        (MINIMAL + '[layout.patterns]\nbrain = "{case}.nii"\n', "names no sequence"),
        (
            MINIMAL + '[layout]\nname = "cbsi"\n[layout.patterns]\nT1 = "{case}.nii"\n',
            "site:5: layout.name: leave it out",
        ),
        (MINIMAL + '[layout.patterns]\nT1 = "{case}.nii"\nlabels = "{case}.nii"\n', "label_kind: say what"),
        (MINIMAL + '[patient]\nsource = "pattern"\n', 'pattern: give it with source = "pattern"'),
        (MINIMAL + '[patient]\nsource = "pattern"\npattern = "a"\n', "site:6: patient.pattern: put parentheses"),
        (MINIMAL + '[patient]\nsource = "pattern"\npattern = "("\n', "not a regular expression"),
        ("name = ", "not valid TOML"),
    ],
)
def test_each_mistake_names_its_line_and_what_to_change(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        parse_site(text, tmp_path)
    assert message in str(caught.value)


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        parse_site(MINIMAL + 'x = 1\n[policy]\nminimum_patients = "5"\n', tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"give the path of a site\.toml"):
        load_site(tmp_path / "site.toml")
