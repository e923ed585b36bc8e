"""The study plan as the coordinator writes it: which tensors and numbers the study's own models would send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import torch
from pydantic import ValidationError

from common.approval.study_plan import Form, StudyPlan
from common.approval.vocabulary import VOCABULARY
from common.assessment.catalogue import all_declared
from common.errors import StudyError
from common.nets.stage_models import build_model
from common.parameters import LOCAL, by_group, grouping_of
from common.plan import Plan, SiteInventory
from common.records import declare
from common.roster_file import Roster
from common.seeding import torch_generator
from common.settings.stages import Stage
from common.study import Study, code_version, parse_study
from server.stages import ModelBuilder

MANY = 10_000
"""Patients of the imagined inventory: more than any minimum, so that nothing is left out of the plan."""


def make_plan(
    study_text: str,
    roster: Roster,
    run_config: Mapping[str, str | bool],
    bundle_sha256: str | None,
    created: date,
    build: ModelBuilder = build_model,
) -> StudyPlan:
    """Return the plan of a study over its sites in `roster`, unsigned.

    Raises:
        StudyError: where the roster lacks a site, or something may not stand in a plan, with all that may not.
    """
    study = parse_study(study_text)
    if missing := sorted(set(study.sites) - set(roster.sites)):
        raise StudyError(f"the roster lacks {', '.join(missing)}, which the study names; admit them, or leave them out")
    inventory = full_inventory(study)
    findings = {name for site in study.sites for name in all_declared(study, inventory, site)}
    try:
        return StudyPlan(
            study_text=study_text,
            study_digest=study.digest,
            code_version=code_version(),
            bundle_sha256=bundle_sha256,
            roster=Roster(sites={site: roster.sites[site] for site in study.sites}),
            run_config=dict(run_config),
            outgoing={stage: outgoing_of(stage, study, inventory, build) for stage in study.stages.present},
            metrics=tuple(sorted(VOCABULARY)),
            findings=tuple(sorted(findings)),
            privacy=study.privacy,
            secure_aggregation=study.secure_aggregation,
            created=created,
        )
    except ValidationError as error:
        problems = dict.fromkeys(_told(problem["loc"], problem["msg"]) for problem in error.errors())
        raise StudyError("\n".join(problems)) from None


def full_inventory(study: Study) -> Plan:
    """Return the inventory in which every site has every sequence: what is sent of any other is part of this."""
    held = dict.fromkeys(study.sequences, MANY)
    sites = [
        SiteInventory(site=site, training_patients=MANY, sequences=held, labelled_patients=MANY, bbb_patients=MANY)
        for site in sorted(study.sites)
    ]
    return Plan(study_digest=study.digest, inventory=tuple(sites))


def outgoing_of(stage: Stage, study: Study, inventory: Plan, build: ModelBuilder) -> dict[str, dict[str, Form]]:
    """Return type and shape of every tensor that may leave a site in `stage`, by group; buffers of whole numbers stay.

    The model is built without weights: a plan takes no memory and no accelerator.
    """
    with torch.device("meta"):
        model = build(stage, study, inventory.domains(study), torch_generator(study.seed, "initial", stage.value))
    tensors = model.state_dict()
    forms = {name: (form.dtype, form.shape) for name, form in declare(tensors).items() if form.is_floating}
    groups = by_group(forms, grouping_of(model))
    return {group: {name: forms[name] for name in names} for group, names in groups.items() if group != LOCAL}


def _told(where: Sequence[int | str], said: str) -> str:
    """Return what is wrong with one part of a plan, and what to do about it."""
    if where[0] == "run_config" and len(where) > 1:
        return (
            f"the run's configuration, {where[1]}: must be printable and no longer than 4096 characters, for a person "
            "at a site reads it; rename the folder or the file that it names, and write the plan again"
        )
    return f"the plan, {'.'.join(map(str, where))}: {said.removeprefix('Value error, ')}; correct it and plan again"
