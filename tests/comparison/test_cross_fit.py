"""A training patient is measured with the fold generator that did not train on it, as the run left it."""

import json
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from client.training.folds import split_in_two
from common.nets.stage_models import build_model
from common.seeding import torch_generator
from common.sequences import STRUCTURAL, Domain, with_twins
from common.settings.stages import FOLDS
from common.study import parse_study
from simulations.comparison.cross_fit import open_cross_fit

STUDY = 'name = "toy"\nsites = ["a"]\nreference_site = "a"\n[stages.generator]\ncross_fit = true\n'
DOMAINS = with_twins(tuple(Domain("a", sequence) for sequence in STRUCTURAL))


def test_each_patient_is_given_the_other_folds_generator_with_the_domains_that_it_learnt(toy, tmp_path):
    study = parse_study(STUDY)
    for fold in FOLDS:
        state = build_model(fold, study, DOMAINS, torch_generator(study.seed, "initial", fold.value)).state_dict()
        with torch.no_grad():
            for name in (name for name in state if ".a:T1." in name):
                state[name].add_(0.1)
        folder = tmp_path / "rounds" / fold.value / "1"
        folder.mkdir(parents=True)
        (folder / "round.json").write_text(json.dumps({}))
        save_file(state, folder / "ema.safetensors")
    subjects = [toy.subject("a", f"p{number}") for number in range(4)]
    pencil_of = open_cross_fit(tmp_path, SimpleNamespace(study=study, domains=DOMAINS), {"a": subjects})
    assert pencil_of is not None
    folds = split_in_two({one.own.patient: one.own.sequences for one in subjects}, study.seed)
    for one in subjects:
        alike = [other for other in subjects if pencil_of(other) is pencil_of(one)]
        assert {folds[other.own.patient] for other in alike} == {folds[one.own.patient]}
        assert pencil_of(one).domains == (Domain("a", STRUCTURAL[0]),)
    one = next(one for one in subjects if folds[one.own.patient] == 0)
    # The generator of fold 2, whose shared tensors were left at their first values above, draws the patients of fold 1.
    first_values = build_model(FOLDS[1], study, DOMAINS, torch_generator(study.seed, "initial", FOLDS[1].value))
    drawn = pencil_of(one).generator.generator.state_dict()
    assert all(torch.equal(tensor, drawn[name]) for name, tensor in first_values.generator.state_dict().items())


def test_folds_that_no_site_trained_are_no_cross_fit(tmp_path):
    study = parse_study(STUDY)
    for fold in FOLDS:
        state = build_model(fold, study, DOMAINS, torch_generator(study.seed, "initial", fold.value)).state_dict()
        folder = tmp_path / "rounds" / fold.value / "1"
        folder.mkdir(parents=True)
        (folder / "round.json").write_text(json.dumps({}))
        save_file(state, folder / "ema.safetensors")
    assert open_cross_fit(tmp_path, SimpleNamespace(study=study, domains=DOMAINS), {"a": []}) is None


def test_a_study_without_folds_has_no_cross_fit(tmp_path):
    study = parse_study(STUDY.replace("true", "false"))
    assert open_cross_fit(tmp_path, SimpleNamespace(study=study, domains=DOMAINS), {}) is None
