"""Domains and their keys, plans, seeds."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from common.errors import StudyError
from common.parameters import Grouping, by_group, group_of
from common.plan import Plan, SiteInventory
from common.seeding import derive_seed, numpy_generator, torch_generator
from common.sequences import Domain, Sequence, with_twins
from common.study import parse_study


@pytest.mark.parametrize("domain", [Domain("a", Sequence.T1GD), Domain("site-9", Sequence.CBV, lesion=True)])
def test_a_domain_is_read_back_from_its_key(domain: Domain):
    assert Domain.parse(domain.key) == domain
    assert domain.twin.twin == domain
    assert domain.twin != domain


@pytest.mark.parametrize("key", ["", "a", "a:T9", "a:T1:other", "A:T1", "a:T1:lesion:x", "../a:T1"])
def test_other_keys_are_refused(key: str):
    with pytest.raises(StudyError):
        Domain.parse(key)


def test_twins_follow_the_images_in_the_same_order():
    ordered = with_twins((Domain("b", Sequence.T1), Domain("a", Sequence.T2), Domain("a", Sequence.T2)))
    assert [domain.key for domain in ordered] == ["a:T2", "b:T1", "a:T2:lesion", "b:T1:lesion"]


def test_a_plan_knows_the_domains_that_sites_hold_of_the_studys_sequences():
    study = parse_study('name="x"\nsites=["a","b"]\nreference_site="a"\nsequences=["T1","T2"]\n[stages.generator]\n')
    inventory = (
        SiteInventory(site="a", training_patients=2, sequences={Sequence.T1: 2, Sequence.ADC: 1}),
        SiteInventory(site="b", training_patients=3, sequences={Sequence.T2: 3}),
    )
    plan = Plan(study_digest=study.digest, inventory=inventory)
    assert [d.key for d in plan.domains(study) if not d.lesion] == ["a:T1", "b:T2"]


def test_a_plan_names_each_site_once_in_order():
    entry = SiteInventory(site="a", training_patients=1, sequences={})
    with pytest.raises(ValidationError):
        Plan(study_digest="", inventory=(entry, entry))


def test_heads_belong_to_domains_local_tensors_stay_and_the_rest_is_shared():
    assert group_of("encoder.out.heads.a:T1.weight") == "domain/a:T1"
    assert group_of("norms.1.weight", Grouping(local=("norms.",))) == "local"
    assert group_of("norm.weight", Grouping(norms=frozenset({"norm.weight"}))) == "norms"
    assert group_of("encoder.mix.weight") == "shared"
    assert by_group(["b.weight", "a.weight"]) == {"shared": ("a.weight", "b.weight")}


def test_streams_of_other_names_are_independent_and_of_one_name_equal():
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)
    assert (
        len({derive_seed(1, "a", 2), derive_seed(1, "a2"), derive_seed(2, "a", 2), derive_seed(1, "a", "2", "")}) == 4
    )
    assert torch_generator(1, "x").initial_seed() == torch_generator(1, "x").initial_seed()
    assert numpy_generator(1, "x").random() == numpy_generator(1, "x").random()
