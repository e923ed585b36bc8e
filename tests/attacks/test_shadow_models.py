"""The evidence's own path: shadow models train on halves of a site, updates are inverted, tables follow."""

from types import SimpleNamespace

import numpy as np
import pytest

from client.data.cache import LabelKind, open_case, write_case
from client.data.dataset import CaseStore
from common.assessment.dossier import Dossier, SiteStatus
from common.errors import StudyError
from common.sequences import Sequence
from common.study import parse_study
from simulations.attacks.gradient_inversion import Resemblance
from simulations.attacks.inversion_trials import InversionTrial
from simulations.attacks.run import invert_updates
from simulations.attacks.shadow_models import train_shadows
from simulations.attacks.tables import share_caught, tables

STUDY = """
name = "s"
sites = ["a"]
reference_site = "a"
[stages.generator]
[stages.maps]
target = "FLAIR"
inputs = ["T1"]
batch_size = 2
"""
SHAPE = (3, 32, 48)


@pytest.fixture
def site(tmp_path):
    """Eight patients with T1 and FLAIR of their own greys."""
    for number in range(8):
        noise = np.random.default_rng(number).normal(0, 0.2, (2, *SHAPE)).astype(np.float32)
        arrays = {"T1": noise[0].clip(-1, 1), "FLAIR": noise[1].clip(-1, 1)}
        arrays |= {"brain": np.ones(SHAPE, dtype=np.uint8), "labels": np.zeros(SHAPE, dtype=np.uint8)}
        facts = {
            "case": f"c{number}", "patient": f"p{number}", "sequences": ["T1", "FLAIR"], "bbb_disrupted": None,
            "label_kind": LabelKind.NONE.value, "affine": np.eye(4).tolist(), "native": {}, "greys": {},
        }  # fmt: skip
        write_case(tmp_path / f"{number}.safetensors", arrays, facts)
    cases = [open_case(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    return SimpleNamespace(name="a", training=CaseStore(cases, (Sequence.T1, Sequence.FLAIR)))


def test_shadow_models_are_told_apart_by_whom_they_saw_and_end_in_tables(site):
    heard = []
    found = train_shadows(site, parse_study(STUDY), 6, (1, 2), lambda done, total: heard.append((done, total)))
    assert heard[-1] == (6, 6) and set(found) == {1, 2}
    assert (found[1].inside == found[2].inside).all() and found[1].losses.shape == (6, 8)
    assert (found[1].losses > 0).all() and (found[1].losses != found[2].losses).any()
    dossier = Dossier(study_digest="0" * 64, weights="0" * 64, sites={"a": SiteStatus(code="ok")})
    same = Resemblance(1.0, 30.0, 0.9)
    text = tables(dossier, found, [InversionTrial("small CNN", "one patient, one step", same, same)])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 * 4 + 2 + 1 and "| small CNN | one patient, one step | 1.00 | 0.90 | 30.0 |" in text
    blocks = [block.splitlines() for block in text.split("## ")[1:]]
    assert all(len({line.count("|") for line in block if line.startswith("|")}) == 1 for block in blocks)


def test_a_member_is_caught_above_nine_tenths_of_the_strangers():
    scores = np.array([[5.0, 1.0, *range(10)]])
    inside = np.array([[True, True, *[False] * 10]])
    assert share_caught(scores, inside) == 0.0
    assert share_caught(np.array([[9.5, 1.0, *range(10)]]), inside) == 0.5


def test_inversion_needs_patients_with_every_channel(site):
    with pytest.raises(StudyError, match="more than 5 patients with T1, FLAIR, T1Gd"):
        invert_updates(site.training, seed=1, steps=1)
