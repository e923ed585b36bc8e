"""Laws of cross-fitting: folds are disjoint, whole and stable, and nobody is filled by a generator that saw them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.training.fill_memo import FillMemo
from client.training.filled_inputs import Filler, open_filler, weights_digest
from client.training.folds import fold_store, folds_of, split_in_two
from client.training.pens import CrossFit, Pen, trained_domains
from client.training.workplace import Workplace
from common.nets.embeddings import FILLED, REAL
from common.nets.stage_models import build_model
from common.seeding import torch_generator
from common.sequences import STRUCTURAL, Domain, with_twins
from common.settings.stages import FOLDS, Stage
from common.study import Study

T1, T1GD, T2, FLAIR = STRUCTURAL


class Painter(nn.Module):
    """A generator that paints everything in its own grey and counts the slices that it paints."""

    domains = tuple(Domain("a", sequence) for sequence in STRUCTURAL)

    def __init__(self, grey: float) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.tensor(grey))
        self.painted = 0

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        self.painted += len(image)
        return torch.full_like(image, float(self.grey.detach()))


@pytest.fixture
def painters() -> dict[Stage, nn.Module]:
    """The generator of all paints 0.5; those of fold 1 and 2 paint 0.1 and 0.2."""
    greys = {Stage.GENERATOR: 0.5, Stage.GENERATOR_FOLD_1: 0.1, Stage.GENERATOR_FOLD_2: 0.2}
    return {stage: Painter(grey) for stage, grey in greys.items()}


@pytest.fixture
def store(make_case) -> CaseStore:
    return CaseStore([make_case(f"p{number}", (T1,)) for number in range(6)], STRUCTURAL)


def test_every_patient_is_in_exactly_one_fold_and_the_folds_are_as_large_as_can_be() -> None:
    folds = split_in_two({f"p{number}": {T1} for number in range(9)}, seed=1)
    assert len(folds) == 9 and sorted(folds.values()).count(0) in (4, 5)


def test_folds_depend_on_the_seed_and_on_nothing_else() -> None:
    holdings = {f"p{number}": {T1} for number in range(12)}
    turned = dict(reversed(holdings.items()))
    assert split_in_two(holdings, 1) == split_in_two(turned, 1) != split_in_two(holdings, 2)


def test_a_sequence_of_two_patients_is_learnt_in_both_folds() -> None:
    for seed in range(20):
        holdings = {f"p{number}": {T1} for number in range(8)} | {"rare-1": {T1, T1GD}, "rare-2": {T1GD, T2}}
        folds = split_in_two(holdings, seed)
        assert {folds["rare-1"], folds["rare-2"]} == {0, 1}


def test_fold_stores_share_no_patient_and_miss_none(store: CaseStore) -> None:
    first, second = ({case.patient for case in fold_store(store, fold, 1).cases} for fold in (0, 1))
    assert not first & second and first | second == {case.patient for case in store.cases}


def test_a_training_case_is_never_filled_by_a_generator_that_saw_its_patient(
    study: Study, store: CaseStore, painters: dict[Stage, nn.Module]
) -> None:
    filler = open_filler(Workplace(study, (), "a", store, painters, torch.device("cpu")))
    folds = folds_of(store, study.seed)
    batch = store.take([(index, 1) for index in range(len(store.cases))])
    filled = filler.fill(store, batch, batch.present, (T2,)).images[T2].amax((1, 2, 3))
    others = [(0.2, 0.1)[folds[case.patient]] for case in store.cases]  # fold 0 is filled by the generator of fold 1
    assert filled.tolist() == pytest.approx(others, abs=1e-3)
    assert painters[Stage.GENERATOR].painted == 0


def test_patients_of_no_fold_are_filled_by_the_generator_of_all(
    study: Study, store: CaseStore, painters: dict[Stage, nn.Module], make_case
) -> None:
    held_out = CaseStore([make_case("stranger", (T1,))], STRUCTURAL)
    batch = held_out.take([(0, 1)])
    filled = open_filler(Workplace(study, (), "a", store, painters, torch.device("cpu"))).fill(
        held_out, batch, batch.present, (T2,)
    )
    assert float(filled.images[T2].max()) == 0.5


def test_a_sequence_that_one_fold_never_learnt_is_filled_by_the_generator_of_all(
    study: Study, store: CaseStore, painters: dict[Stage, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    painters[Stage.GENERATOR_FOLD_2].domains = tuple(Domain("a", sequence) for sequence in (T1, T1GD, FLAIR))
    filler = open_filler(Workplace(study, (), "a", store, painters, torch.device("cpu")))
    assert "the generator of all fills T2, half" in caplog.text
    batch = store.take([(index, 1) for index in range(len(store.cases))])
    filled = filler.fill(store, batch, batch.present, (T2, FLAIR)).images
    assert set(filled[T2].amax((1, 2, 3)).tolist()) == {0.5}
    assert filled[FLAIR].amax((1, 2, 3)).unique().tolist() == pytest.approx([0.1, 0.2], abs=1e-3)


def test_where_a_fold_was_never_trained_nothing_is_filled_with_nothing(
    study: Study, store: CaseStore, painters: dict[Stage, nn.Module]
) -> None:
    painters[Stage.GENERATOR_FOLD_1].domains = ()
    filler = open_filler(Workplace(study, (), "a", store, painters, torch.device("cpu")))
    batch = store.take([(index, 1) for index in range(len(store.cases))])
    assert set(filler.fill(store, batch, batch.present, (T2,)).images[T2].amax((1, 2, 3)).tolist()) == {0.5}
    assert filler.availability(store, batch, batch.present, (T1, T2)).unique(dim=0).tolist() == [[REAL, FILLED]]


def test_a_site_whose_own_style_a_fold_never_learnt_is_not_filled_in_another_s(
    study: Study, store: CaseStore, painters: dict[Stage, nn.Module]
) -> None:
    both = tuple(Domain(site, sequence) for site in ("a", "b") for sequence in STRUCTURAL)
    for stage, painter in painters.items():
        painter.domains = both if stage is Stage.GENERATOR else both[:4]  # `b` sat both folds out
    assert not open_filler(Workplace(study, (), "b", store, painters, torch.device("cpu"))).crossed & set(STRUCTURAL)
    assert set(STRUCTURAL) <= open_filler(Workplace(study, (), "a", store, painters, torch.device("cpu"))).crossed


def test_without_folds_one_generator_fills_all(
    study: Study, store: CaseStore, painters: dict[Stage, nn.Module]
) -> None:
    filler = open_filler(
        Workplace(study, (), "a", store, {Stage.GENERATOR: painters[Stage.GENERATOR]}, torch.device("cpu"))
    )
    assert filler.cross_fit is None and filler.digest.startswith(weights_digest(painters[Stage.GENERATOR]))


def test_what_is_filled_by_whom_is_part_of_the_fillers_digest(painters: dict[Stage, nn.Module]) -> None:
    everyone = painters[Stage.GENERATOR]
    pens = tuple(Pen(painters[fold], Painter.domains, weights_digest(painters[fold])) for fold in FOLDS)
    digests = {
        Filler(everyone, "a", "a", FillMemo(), CrossFit(folds, pens)).digest for folds in ({"p": 0}, {"p": 1}, {})
    }
    assert len(digests) == 3


def test_a_domain_that_nobody_trained_is_not_drawn(study: Study) -> None:
    domains = with_twins((Domain("a", T1), Domain("a", T2)))
    seed = torch_generator(study.seed, "initial", FOLDS[0].value)
    model = build_model(FOLDS[0], study, domains, seed)
    assert trained_domains(FOLDS[0], model, study, domains) == ()
    with torch.no_grad():
        next(tensor for name, tensor in model.named_parameters() if ".a:T2." in name).add_(1)
    assert trained_domains(FOLDS[0], model, study, domains) == (Domain("a", T2),)
