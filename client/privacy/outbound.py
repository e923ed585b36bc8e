"""The one door through which anything leaves a hospital.

An inventory leaves with counts and medians that enough patients stand behind. An update leaves with the tensors of the
groups that belong to the site, each with enough patients behind it, and with metrics whose names are in the vocabulary,
each with enough patients behind it; both only as the plan that a person approved names them. Of a stage that is trained
privately no metric leaves, for none is noisy. An assessment leaves as sums, merged histograms and moments under
declared names, each of enough patients. An error leaves as its code.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from client.assessment.examination import Observed
from client.config import Policy
from client.privacy.counting import histogram_of, moments_over, sums_of
from client.privacy.policy import patients_behind_number, patients_behind_training
from client.training.update import Counted, LocalUpdate
from common.approval.study_plan import Form, Leaving
from common.approval.vocabulary import VOCABULARY
from common.assessment.declared import Bins, Features, Values
from common.assessment.declared import Declared as Kind
from common.assessment.findings import FeatureSums, Findings, Histogram, Sums
from common.errors import GliofedError, PolicyError
from common.logs import logger
from common.parameters import (
    DOMAIN_PREFIX,
    LOCAL,
    STATISTICS,
    Grouping,
    StateDict,
    by_group,
    group_of,
    permitted_groups,
)
from common.plan import Plan, SiteInventory
from common.records import Greys, declare
from common.sequences import Sequence
from common.spent import Spent
from common.study import Study

log = logger(__name__)

UNEXPECTED = "unexpected"


class NotCoveredError(PolicyError):
    """Something that was kept to be sent is not in the plan that is approved now."""

    code = "not-covered"


@dataclass(frozen=True)
class Outgoing:
    """What passed the door.

    Attributes:
        tensors: names and values of the groups that may leave.
        patients: per group that leaves, the patients that touched it.
        metrics: numbers that may leave.
        withheld: groups and metrics of the contract that stay: for want of patients, or of permission by the policy.
        spent: what a private update has cost.
    """

    tensors: StateDict
    patients: dict[str, int]
    metrics: dict[str, float]
    withheld: tuple[str, ...]
    spent: Spent | None = None


def allow_update(
    update: LocalUpdate, site: str, policy: Policy, study: Study, plan: Plan, leaving: Leaving | None = None
) -> Outgoing:
    """Let through what of `update` may leave `site`: permitted groups, known metrics, enough patients behind each.

    And of these what the approved plan names, tensors by type and shape as well: a group that has any other tensor
    stays whole. Without a plan, in a simulation that approves everything, the study alone decides.

    Statistics need as many patients as any other number. Buffers of whole numbers never leave: the coordinator keeps
    its own.
    """
    permitted = permitted_groups(site, plan.domains(study)) - {LOCAL}
    counted = {group: count for group, count in sorted(update.patients.items()) if group in permitted}
    patients = {
        group: count
        for group, count in counted.items()
        if min(count, update.fewest.get(group, count)) >= _patients_behind(group, policy, study)
    }
    tensors = {
        name: tensor
        for name, tensor in update.tensors.items()
        if group_of(name, update.grouping) in patients and tensor.is_floating_point()
    }
    offered = {} if update.spent else update.metrics
    speakable = VOCABULARY if leaving is None else VOCABULARY & leaving.metrics
    for name in sorted(set(offered) - speakable):
        log.warning("%s stays at the site: it is not among the numbers that may leave", name)
    known = {name: metric for name, metric in sorted(offered.items()) if name in speakable}
    metrics = {
        name: metric.value
        for name, metric in known.items()
        if _may_leave(metric, policy, study) and policy.lets_out(name)
    }
    few = [group for group, count in counted.items() if count > 0 and group not in patients]
    withheld = tuple(few + [name for name in known if name not in metrics])
    return _planned(Outgoing(tensors, patients, metrics, withheld, update.spent), update.grouping, leaving)


def _planned(outgoing: Outgoing, grouping: Grouping, leaving: Leaving | None) -> Outgoing:
    """Keep back every group of which some tensor is not in the approved plan as it is."""
    if leaving is None:
        return outgoing
    strange: set[str] = set()
    for group, names in by_group(outgoing.tensors, grouping).items():
        uncovered = leaving.uncovered(group, declare({name: outgoing.tensors[name] for name in names}))
        if uncovered:
            strange.add(group)
            log.warning(
                "%s stays at the site: the approved plan does not name %d of its tensors as they are, the first is %s",
                group,
                len(uncovered),
                uncovered[0],
            )
    return _without(outgoing, strange, grouping)


def _without(outgoing: Outgoing, groups: Collection[str], grouping: Grouping) -> Outgoing:
    """Keep back whole groups, and say so."""
    if not groups:
        return outgoing
    tensors = {name: tensor for name, tensor in outgoing.tensors.items() if group_of(name, grouping) not in groups}
    patients = {group: count for group, count in outgoing.patients.items() if group not in groups}
    return replace(outgoing, tensors=tensors, patients=patients, withheld=outgoing.withheld + tuple(sorted(groups)))


def check_kept(tensors: Mapping[str, Form], numbers: Collection[str], leaving: Leaving | None) -> None:
    """Refuse to send an update that was kept, where the plan that is approved now does not name all of it.

    Raises:
        NotCoveredError: naming the first tensor or number.
    """
    if leaving is None:
        return
    planned = {name: form for group in leaving.groups.values() for name, form in group.items()}
    strange = sorted({name for name, form in tensors.items() if planned.get(name) != form})
    strange += sorted(set(numbers) - leaving.metrics)
    if strange:
        raise NotCoveredError(f"a kept update holds {strange[0]}, which the approved plan does not name; it stays")


def allow_sum(outgoing: Outgoing, grouping: Grouping, policy: Policy) -> Outgoing:
    """Let through what of an allowed update may go into a secure sum, or beside it in clear.

    A head that one site owns hides in no sum: it leaves where the site's policy says so, or where it was trained
    privately, and is withheld otherwise.
    """
    if policy.single_owner_heads_in_clear or outgoing.spent is not None:
        return outgoing
    return _without(outgoing, {group for group in outgoing.patients if group.startswith(DOMAIN_PREFIX)}, grouping)


def allow_inventory(
    inventory: SiteInventory, greys: Mapping[Sequence, Greys], policy: Policy, study: Study
) -> tuple[SiteInventory, dict[Sequence, Greys]]:
    """Let through the counts and medians that enough patients stand behind; a smaller count leaves as none."""
    enough = patients_behind_training(policy, study)
    counts = {
        "training_patients": inventory.training_patients,
        "labelled_patients": inventory.labelled_patients,
        "bbb_patients": inventory.bbb_patients,
    }
    allowed = SiteInventory(
        site=inventory.site,
        sequences={sequence: count for sequence, count in inventory.sequences.items() if count >= enough},
        **{name: count if count >= enough else 0 for name, count in counts.items()},
    )
    behind = patients_behind_number(policy, study)
    return allowed, {sequence: median for sequence, median in greys.items() if median.patients >= behind}


def allow_findings(
    observed: Observed,
    declared: Mapping[str, Kind],
    weights: str,
    policy: Policy,
    study: Study,
) -> Findings:
    """Let through what was observed under declared names, counted, where enough patients stand behind it.

    Raises:
        ValueError: where an assessor observed otherwise than is declared.
    """
    fewest = patients_behind_number(policy, study)
    seen = {**observed.values, **observed.bins, **observed.features}
    for name in sorted(set(seen) - set(declared)):
        log.warning("%s stays at the site: it is not declared", name)
    counted = {name: _counted(seen[name], declared[name], fewest) for name in sorted(set(seen) & set(declared))}
    return Findings(
        weights=weights,
        sums={name: each for name, each in counted.items() if isinstance(each, Sums)},
        histograms={name: each for name, each in counted.items() if isinstance(each, Histogram)},
        moments={name: each for name, each in counted.items() if isinstance(each, FeatureSums)},
        withheld=tuple(name for name, each in counted.items() if each is None and seen[name]),
    )


def allow_planned(findings: Findings, planned: Collection[str] | None, policy: Policy) -> Findings:
    """Let through what of counted findings the approved plan names and the policy allows, kept ones as well.

    `planned` is None where a simulation approves everything.
    """
    kinds: dict[str, Mapping[str, Any]] = {
        "sums": findings.sums,
        "histograms": findings.histograms,
        "moments": findings.moments,
    }
    names = {name for found in kinds.values() for name in found}
    unplanned = set() if planned is None else names - set(planned)
    for name in sorted(unplanned):
        log.warning("%s stays at the site: it is not in the approved plan", name)
    forbidden = {name for name in names - unplanned if not policy.lets_out(name)}
    leaving = names - unplanned - forbidden
    left = {kind: {name: found[name] for name in found if name in leaving} for kind, found in kinds.items()}
    return findings.model_copy(update={**left, "withheld": (*findings.withheld, *sorted(forbidden))})


def _counted(patients: Any, kind: Kind, fewest: int) -> Sums | Histogram | FeatureSums | None:
    """Count what was observed of each patient, as its name declares."""
    match kind:
        case Values():
            return sums_of(patients, kind, fewest)
        case Bins():
            return histogram_of(patients, kind, fewest)
        case Features():
            return moments_over(patients, kind, fewest)


def code_of(error: Exception) -> str:
    """Return the code under which `error` may leave; its text stays."""
    return error.code if isinstance(error, GliofedError) else UNEXPECTED


def _patients_behind(group: str, policy: Policy, study: Study) -> int:
    enough = patients_behind_number if group == STATISTICS else patients_behind_training
    return enough(policy, study)


def _may_leave(metric: Counted, policy: Policy, study: Study) -> bool:
    return math.isfinite(metric.value) and metric.patients >= patients_behind_number(policy, study)
