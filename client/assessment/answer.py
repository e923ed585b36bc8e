"""A site's answer to an assessment: what was said before, and what every assessor sees that has not been heard yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import nn

from client.assessment import catalogue
from client.assessment.alone import train_alone
from client.assessment.examination import Assessor, Examination, Observed, joined
from client.assessment.register import Cohort, Register, only
from client.compilation import make_ready
from client.limits import limit_gpu_memory
from client.precision import computing_in
from client.privacy.outbound import allow_findings, code_of
from client.privacy.policy import patients_behind_number
from client.site import Site
from client.training.tasks import Bench, fresh_model, state_of
from common.assessment.catalogue import declared_by
from common.assessment.findings import Findings
from common.assessment.matrix import SEGMENTATION, SITE_ALONE, TRANSLATION
from common.assessment.request import AssessmentRequest
from common.errors import GliofedError
from common.logs import logger
from common.seeding import derive_seed, deterministic_on_cpu
from common.settings.stages import Stage

log = logger(__name__)

AssessorOf = Callable[[str], Assessor]

COMPARE_WITH_ALONE = frozenset({TRANSLATION, SEGMENTATION})
"""The assessors that look at what the site trained by itself, too."""


def assess_once(
    site: Site, request: AssessmentRequest, bench: Bench, assessor_of: AssessorOf = catalogue.assessor
) -> Findings:
    """Return what the site says of the weights, which it has: what it said before, or what is observed now.

    An assessor that failed has said nothing, and is tried again each time the site is asked; what was said stands.

    Raises:
        PolicyError: where the register refuses, see `client.assessment.register`.
    """
    register = Register.of(site, request.study_digest)
    kept = register.answer(request.digest)
    if kept is not None and not kept.failed:
        return kept
    try:
        cohort = register.admit(site, request.digest)
    except GliofedError as error:
        if kept is None:
            raise
        log.warning("what failed cannot be tried again: %s", error)
        return kept
    findings = _assess(site, request, cohort, bench, assessor_of, kept)
    register.keep(findings)
    return findings


def _assess(
    site: Site,
    request: AssessmentRequest,
    cohort: Cohort,
    bench: Bench,
    assessor_of: AssessorOf,
    kept: Findings | None,
) -> Findings:
    """Run every assessor that the study asks for, or that failed, count what they saw, and add it to what is kept."""
    limit_gpu_memory(site.policy, bench.device)
    declared = declared_by(request.study, request.plan, site.name)
    wanted = tuple(declared) if kept is None else to_repeat(declared, kept)
    failed: dict[str, str] = {}
    with torch.random.fork_rng(devices=[]), deterministic_on_cpu(bench.device):
        exam = _open(site, request, cohort, bench)
        if exam.study.assessment.site_alone and COMPARE_WITH_ALONE & set(wanted):
            exam = _with_alone(exam, site, request, bench, failed)
        observed = _observe(exam, wanted, assessor_of, failed)
    names = {name: kind for kinds in declared.values() for name, kind in kinds.items()}
    counted = allow_findings(joined(observed), names, request.digest, site.policy, request.study)
    found = counted.model_copy(update={"failed": failed})
    return found if kept is None else kept.completed_by(found)


def to_repeat(declared: Iterable[str], kept: Findings) -> tuple[str, ...]:
    """Return the assessors that failed, and those that lacked what the site could not train by itself."""
    lacked = COMPARE_WITH_ALONE if SITE_ALONE in kept.failed else frozenset()
    return tuple(name for name in declared if name in kept.failed or name in lacked)


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
        except Exception as error:
            failed[name] = _noted(f"the assessor {name} failed", error)
    return observed


def _noted(what: str, error: Exception) -> str:
    """Log an error, in full where it is none of ours, and return the code under which it may leave."""
    if isinstance(error, GliofedError):
        log.warning("%s: %s", what, error)
    else:
        log.exception("%s", what)
    return code_of(error)


def _with_alone(
    exam: Examination, site: Site, request: AssessmentRequest, bench: Bench, failed: dict[str, str]
) -> Examination:
    """Add what the site trains by itself."""
    try:
        return replace(exam, alone=train_alone(site, request, exam.training, bench))
    except Exception as error:
        failed[SITE_ALONE] = _noted("the site could not train by itself", error)
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
