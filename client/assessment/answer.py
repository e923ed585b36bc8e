"""A site's answer to an assessment: from the register where there is one, else every assessor's, counted and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from client.assessment import catalogue
from client.assessment.alone import train_alone
from client.assessment.examination import Assessor, Examination, Observed, joined
from client.assessment.register import Cohort, Register, only
from client.compilation import make_ready
from client.precision import computing_in
from client.privacy.outbound import allow_findings, code_of
from client.privacy.policy import patients_behind_number
from client.site import Site
from client.training.tasks import Bench, fresh_model, state_of
from common.assessment.catalogue import declared_by
from common.assessment.findings import Findings
from common.assessment.matrix import SITE_ALONE
from common.assessment.request import AssessmentRequest
from common.errors import GliofedError
from common.logs import logger
from common.seeding import derive_seed, deterministic_on_cpu
from common.settings.stages import Stage

log = logger(__name__)

AssessorOf = Callable[[str], Assessor]


def assess_once(
    site: Site, request: AssessmentRequest, bench: Bench, assessor_of: AssessorOf = catalogue.assessor
) -> Findings:
    """Return what the site says of the weights, which it has: what it said before, or what is observed now.

    Raises:
        PolicyError: where the register refuses, see `client.assessment.register`.
    """
    register = Register.of(site, request.study_digest)
    answered = register.answer(request.digest)
    if answered is not None:
        return answered
    cohort = register.admit(site, request.digest)
    findings = _assess(site, request, cohort, bench, assessor_of)
    register.keep(findings)
    return findings


def _assess(site: Site, request: AssessmentRequest, cohort: Cohort, bench: Bench, assessor_of: AssessorOf) -> Findings:
    """Run every assessor that the study asks for, and count what they saw."""
    declared = declared_by(request.study, request.plan, site.name)
    failed: dict[str, str] = {}
    with torch.random.fork_rng(devices=[]), deterministic_on_cpu(bench.device):
        exam = _with_alone(_open(site, request, cohort, bench), site, request, bench, failed)
        observed = _observe(exam, tuple(declared), assessor_of, failed)
    names = {name: kind for kinds in declared.values() for name, kind in kinds.items()}
    counted = allow_findings(joined(observed), names, request.digest, site.policy, request.study)
    return counted.model_copy(update={"failed": failed})


def _observe(
    exam: Examination, names: tuple[str, ...], assessor_of: AssessorOf, failed: dict[str, str]
) -> list[Observed]:
    """Return what each assessor saw; one that fails costs none of the others, and is added to `failed`."""
    observed = []
    for name in names:
        torch.manual_seed(derive_seed(exam.study.seed, exam.site, "assessment", name))
        try:
            with torch.no_grad(), computing_in(exam.study.training.precision):
                observed.append(assessor_of(name)(exam))
        except GliofedError as error:
            log.warning("the assessor %s failed: %s", name, error)
            failed[name] = code_of(error)
    return observed


def _with_alone(
    exam: Examination, site: Site, request: AssessmentRequest, bench: Bench, failed: dict[str, str]
) -> Examination:
    """Add what the site trains by itself, where the study asks for it."""
    if not exam.study.assessment.site_alone:
        return exam
    try:
        return replace(exam, alone=train_alone(site, request, exam.training, bench))
    except GliofedError as error:
        log.warning("the site could not train by itself: %s", error)
        failed[SITE_ALONE] = code_of(error)
        return exam


def _open(site: Site, request: AssessmentRequest, cohort: Cohort, bench: Bench) -> Examination:
    return Examination(
        study=request.study,
        plan=request.plan,
        site=site.name,
        training=only(site.training, cohort.training),
        held_out=only(site.held_out, cohort.held_out),
        models=_models(site, request, bench),
        device=bench.device,
        minimum=patients_behind_number(site.policy, request.study),
    )


def _models(site: Site, request: AssessmentRequest, bench: Bench) -> Mapping[Stage, nn.Module]:
    """Open the averaged networks from what the site keeps of the run."""
    models: dict[Stage, nn.Module] = {}
    task = request.task()
    for stage, digest in request.weights.items():
        model = fresh_model(task.model_copy(update={"stage": stage}), bench)
        model.load_state_dict(state_of(site, task).held.tensors(digest))
        models[stage] = model.eval().requires_grad_(False)
        make_ready(models[stage], bench.device, site.hardware.compile)
    return models
