"""A study plan: what it says may leave, that one signature covers all of it, and that no bytes break its parser."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.approval.study_plan import StudyPlan, WrongPlanError, parse_signed_plan, read_plan, write_plan
from common.assessment.catalogue import all_declared
from common.errors import GliofedError, StudyError
from common.identity.signing import Purpose, SignatureError, SigningKey
from common.nets.stage_models import build_model
from common.parameters import by_group, grouping_of, permitted_groups
from common.plan import Plan, SiteInventory
from common.records import declare
from common.sequences import Sequence
from common.settings.stages import Stage
from common.study import parse_study
from server.approval.make_plan import make_plan


def changed(signed: bytes, change: Any) -> bytes:
    tree = json.loads(signed)
    change(tree)
    return json.dumps(tree).encode()


def test_a_signed_plan_is_read_back_as_it_was(plan: StudyPlan, signed: bytes, small: SimpleNamespace) -> None:
    assert read_plan(signed, small.key.public) == plan
    assert read_plan(signed, small.key.public).digest == plan.digest


def test_a_plan_names_what_leaves_and_neither_local_tensors_nor_counters(plan: StudyPlan) -> None:
    groups = plan.outgoing[Stage.GENERATOR]
    assert sorted(groups["shared"]) == ["trunk.bias", "trunk.weight"]
    assert groups["domain/a:T1"] == {"heads.a:T1.bias": ("float32", (1,)), "heads.a:T1.weight": ("float32", (1, 1))}
    assert len(groups) == 1 + 2 * 2 * 2, "the trunk, and a head for each site, sequence, and lesion twin"


def test_another_key_is_no_signature(signed: bytes) -> None:
    with pytest.raises(SignatureError):
        read_plan(signed, SigningKey.generate().public)


def test_a_signature_for_another_purpose_is_none(plan: StudyPlan, signed: bytes, small: SimpleNamespace) -> None:
    other = small.key.sign(Purpose.RELEASE, plan.canonical)
    with pytest.raises(SignatureError):
        read_plan(changed(signed, lambda tree: tree.update(signature=other)), small.key.public)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["outgoing"]["generator"]["shared"].update({"trunk.weight": ["float32", [1, 2]]}),
        lambda plan: plan["metrics"].append("training.loss_of_patient_7"),
        lambda plan: plan["run_config"].update(out="/elsewhere"),
        lambda plan: plan["roster"]["sites"]["b"].update(node=9),
        lambda plan: plan.update(bundle_sha256="1" * 64),
        lambda plan: plan.update(study_text=plan["study_text"].replace("rounds = 2", "rounds = 3")),
    ],
)
def test_no_part_can_be_changed_under_the_signature(signed: bytes, small: SimpleNamespace, change: Any) -> None:
    with pytest.raises(SignatureError):
        read_plan(changed(signed, lambda tree: change(tree["plan"])), small.key.public)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["plan"].update(colour=1), "plan.colour"),
        (lambda tree: tree["plan"].pop("roster"), "plan.roster"),
        (lambda tree: tree["plan"]["metrics"].append("/scans/patient-7"), "no name of a metric"),
        (lambda tree: tree["plan"]["outgoing"]["generator"].update({"\x1b[2J": {}}), "plan.outgoing"),
        (lambda tree: tree["plan"]["outgoing"]["generator"]["shared"].update(x=["voxels", [1]]), "no type of a tensor"),
        (lambda tree: tree["plan"].update(created="yesterday"), "plan.created"),
        (lambda tree: tree["plan"]["run_config"].update(out="\x1b[8A\x1b[0Jforged"), "plan.run_config.out"),
        (lambda tree: tree["plan"]["run_config"].update(out="/runs/\u202etxt"), "plan.run_config.out"),
    ],
)
def test_a_wrong_plan_is_named_with_what_is_wrong(signed: bytes, change: Any, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_signed_plan(changed(signed, change))
    assert message in str(caught.value)


def test_a_plan_that_contradicts_its_study_is_not_written(plan: StudyPlan, small: SimpleNamespace) -> None:
    study = parse_study(small.study + '[privacy]\nstages = ["generator"]\n')
    with pytest.raises(WrongPlanError, match="privacy") as caught:
        write_plan(plan.model_copy(update={"privacy": study.privacy}), small.key)
    assert caught.value.code == "wrong-plan"


def test_a_run_whose_configuration_nobody_could_read_is_not_planned(small: SimpleNamespace) -> None:
    run = small.run | {"out": "/runs/\x1b[8Aforged", "start_from": "/" + "long/" * 1000}
    with pytest.raises(StudyError) as caught:
        make_plan(small.study, small.roster, run, "no digest", small.day, small.build)
    out, start_from, bundle = sorted(str(caught.value).splitlines(), key=lambda line: ("bundle" in line, line))
    for line, key in ((out, "out"), (start_from, "start_from")):
        assert line.startswith(f"the run's configuration, {key}: must be printable and no longer than 4096")
        assert "rename the folder" in line
    assert bundle.startswith("the plan, bundle_sha256:") and "\x1b" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_run_is_the_planned_one_or_its_continuation_and_no_other(plan: StudyPlan, small: SimpleNamespace) -> None:
    run = small.run
    assert plan.fits_run(run) and plan.fits_run(run | {"resume": True})
    assert not plan.fits_run(run | {"out": "/elsewhere"})
    assert not plan.fits_run(run | {"start_from": "/release"})
    assert not plan.fits_run(run | {"resume": "yes"})
    whole = plan.model_copy(update={"run_config": run | {"resume": False}})
    assert whole.fits_run(run | {"resume": True}) and whole.fits_run(run | {"resume": False})


def test_tensors_of_another_name_type_or_shape_are_not_covered(plan: StudyPlan) -> None:
    tensors = {"trunk.weight": torch.ones(1, 1), "trunk.bias": torch.ones(1)}
    leaving = plan.leaving(Stage.GENERATOR)
    assert leaving.uncovered("shared", declare(tensors)) == ()
    assert leaving.uncovered("shared", declare(tensors | {"more": torch.ones(1)})) == ("more",)
    assert leaving.uncovered("shared", declare({"trunk.bias": torch.ones(2)})) == ("trunk.bias",)
    assert leaving.uncovered("shared", declare({"trunk.bias": torch.ones(1).double()})) == ("trunk.bias",)
    assert leaving.uncovered("norms", declare(tensors)) == ("trunk.bias", "trunk.weight")
    assert plan.leaving(Stage.SEGMENTER).uncovered("shared", declare(tensors)) == ("trunk.bias", "trunk.weight")


def test_a_plan_of_all_domains_covers_the_real_networks_and_findings_of_any_inventory(small: SimpleNamespace) -> None:
    text = small.study + "[assessment]\nenabled = true\n"
    plan, study = make_plan(text, small.roster, small.run, None, small.day), parse_study(text)
    held = {"a": {Sequence.T1: 3, Sequence.T2: 3}, "b": {Sequence.T2: 3}}
    inventory = Plan(
        study_digest=study.digest,
        inventory=tuple(
            SiteInventory(site=site, training_patients=3, sequences=kept, labelled_patients=3, bbb_patients=0)
            for site, kept in held.items()
        ),
    )
    domains = inventory.domains(study)
    model = build_model(Stage.GENERATOR, study, domains, torch.Generator().manual_seed(1))
    tensors = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    leaving = {
        group: names
        for group, names in by_group(tensors, grouping_of(model)).items()
        if group in permitted_groups("b", domains)
    }
    assert sorted(leaving) == ["domain/b:T2", "domain/b:T2:lesion", "shared"]
    for group, names in leaving.items():
        declared = declare({name: tensors[name] for name in names})
        assert plan.leaving(Stage.GENERATOR).uncovered(group, declared) == ()
    assert plan.findings and all(set(all_declared(study, inventory, site)) <= set(plan.findings) for site in held)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(blob: bytes) -> None:
    with pytest.raises(GliofedError):
        parse_signed_plan(blob)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(sorted(StudyPlan.model_fields)), value=TREES, signature=st.text(max_size=8))
def test_no_value_in_any_place_breaks_the_parser(
    signed: bytes, small: SimpleNamespace, place: str, value: Any, signature: str
) -> None:
    tree = json.loads(signed)
    tree["plan"][place], tree["signature"] = value, signature
    with pytest.raises(GliofedError):
        read_plan(json.dumps(tree).encode(), small.key.public)
