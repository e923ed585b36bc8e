from dataclasses import dataclass

import numpy as np

from client.inference.fill import Translator
from common.sequences import STRUCTURAL, Domain, Sequence
from common.settings.stages import MapsStage
from simulations.comparison.subject import Pencil
from simulations.report.gallery import choose, map_row, translation_rows


@dataclass
class Scan:
    """As much of a cached case as a picture needs: a bright square for a brain."""

    case: str
    sequences: tuple[Sequence, ...] = STRUCTURAL
    path: str = "toy"

    def slices(self, sequence):
        return np.where(self.brain() > 0, 0.2, -1).astype(np.float32)

    def brain(self):
        mask = np.zeros((3, 32, 32), dtype=np.uint8)
        mask[:, 8:24, 8:24] = 1
        return mask


@dataclass
class Patient:
    site: str
    truth: Scan
    fullest_slice: int = 1

    @property
    def brain(self):
        return self.truth.brain() > 0


class Copying(Translator):
    def __init__(self, sites):
        self.domains = tuple(Domain(site, sequence) for site in sites for sequence in STRUCTURAL)

    def translate(self, image, target):
        return image


def patients(site, *names):
    return [Patient(site, Scan(name)) for name in names]


def test_the_median_patient_is_shown_and_never_the_best():
    people = patients("a", "best", "median", "worst")
    errors = {("a", "best"): 1.0, ("a", "median"): 2.0, ("a", "worst"): 9.0}
    titles = {one.truth.case: title for title, one in choose(people, errors)}
    assert titles == {"median": "median patient", "worst": "worst patient of all sites"}


def test_the_worst_patient_of_all_stands_with_its_own_site_alone():
    people = [*patients("a", "a1", "a2"), *patients("b", "b1", "b2")]
    errors = {("a", "a1"): 1.0, ("a", "a2"): 2.0, ("b", "b1"): 3.0, ("b", "b2"): 4.0}
    assert [(one.site, one.truth.case) for _, one in choose(people, errors)] == [("a", "a1"), ("b", "b1"), ("b", "b2")]


def test_at_most_four_pairs_are_drawn_and_only_those_that_exist():
    generator = Copying(["a"])
    pencil = Pencil(generator, generator.domains, "a")
    whole, part = Patient("a", Scan("p1")), Patient("a", Scan("p2", (Sequence.T1, Sequence.FLAIR), "other"))
    assert len(translation_rows("median", whole, pencil)) == 4
    rows = translation_rows("median", part, pencil)
    assert [row.title for row in rows] == ["FLAIR → T1, median", "T1 → FLAIR, median"]
    assert [tile.caption for tile in rows[0].tiles] == ["given: FLAIR", "drawn: T1", "true: T1", "drawn − true"]
    assert [tile.strong for tile in rows[0].tiles] == [False, True, False, False]


def test_a_map_is_drawn_with_and_without_gadolinium_beside_the_true_one():
    def first_input(images, available):
        return images[:, :1]

    settings = MapsStage(target=Sequence.T2, inputs=(Sequence.T1, Sequence.T1GD))
    row = map_row("median", Patient("a", Scan("p1")), first_input, settings)
    assert [tile.caption for tile in row.tiles] == [
        *("true: T2", "drawn from T1, T1Gd", "drawn − true", "drawn from T1", "drawn − true"),
    ]
    alone = settings.model_copy(update={"subsets": "all-inputs"})
    assert len(map_row("median", Patient("a", Scan("p1")), first_input, alone).tiles) == 3
    assert map_row("median", Patient("a", Scan("p2", (Sequence.T1,))), first_input, settings) is None
