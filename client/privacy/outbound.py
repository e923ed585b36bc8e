"""The one door through which anything leaves a hospital.

An inventory leaves with counts and medians that enough patients stand behind. An update leaves with the tensors of the
groups that belong to the site, each with enough patients behind it, and with metrics whose names are in the vocabulary
below, each with enough patients behind it. Of a stage that is trained privately no metric leaves, for none is noisy. An
assessment leaves as sums, merged histograms and moments under declared names, each of enough patients. An error leaves
as its code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from client.assessment.examination import Observed
from client.config import Policy
from client.privacy.counting import histogram_of, moments_over, sums_of
from client.privacy.policy import patients_behind_number, patients_behind_training
from client.training.update import Counted, LocalUpdate
from common.assessment.declared import Bins, Declared, Features, Values
from common.assessment.findings import FeatureSums, Findings, Histogram, Sums
from common.errors import GliofedError
from common.logs import logger
from common.parameters import DOMAIN_PREFIX, LOCAL, STATISTICS, Grouping, StateDict, group_of, permitted_groups
from common.plan import Plan, SiteInventory
from common.records import Greys
from common.sequences import Sequence
from common.spent import Spent
from common.study import Study

log = logger(__name__)

LOSSES = frozenset(
    {
        *("loss", "discriminator", "adversarial", "style", "lesion_style", "diversity", "cycle", "identity", "paired"),
        *("synthesis", "segmentation", "dice", "cross_entropy", "consistency"),
        *("features", "dissimilarity"),
        *("win_rate", "output_spread", "style_spread", "style_drift"),
    }
)
"""What a step may report of its training: losses, and the figures that an alarm at the coordinator looks at."""

SCORES = frozenset(
    {
        *(
            "loss",
            "mae",
            "mae_copy",
            "mae_lesion",
            "ssim",
            "synthesis",
            "segmentation",
            "dice",
            "dice_wt",
            "dice_tc",
            "dice_et",
        ),
        *("cross_entropy", "consistency", "accuracy"),
    }
)
"""What an evaluation on held-out patients may report."""

VOCABULARY = frozenset(f"training.{name}" for name in LOSSES) | frozenset(f"held_out.{name}" for name in SCORES)

UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class Outgoing:
    """What passed the door.

    Attributes:
        tensors: names and values of the groups that may leave.
        patients: per group that leaves, the patients that touched it.
        metrics: numbers that may leave.
        withheld: groups and metrics of the contract that stay for want of patients; nothing else is named.
        spent: what a private update has cost.
    """

    tensors: StateDict
    patients: dict[str, int]
    metrics: dict[str, float]
    withheld: tuple[str, ...]
    spent: Spent | None = None


def allow_update(update: LocalUpdate, site: str, policy: Policy, study: Study, plan: Plan) -> Outgoing:
    """Let through what of `update` may leave `site`: permitted groups, known metrics, enough patients behind each.

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
    for name in sorted(set(offered) - VOCABULARY):
        log.warning("%s stays at the site: it is not in the vocabulary of what may leave", name)
    known = {name: metric for name, metric in sorted(offered.items()) if name in VOCABULARY}
    metrics = {name: metric.value for name, metric in known.items() if _may_leave(metric, policy, study)}
    few = [group for group, count in counted.items() if count > 0 and group not in patients]
    withheld = tuple(few + [name for name in known if name not in metrics])
    return Outgoing(tensors, patients, metrics, withheld, update.spent)


def allow_sum(outgoing: Outgoing, grouping: Grouping, policy: Policy) -> Outgoing:
    """Let through what of an allowed update may go into a secure sum, or beside it in clear.

    A head that one site owns hides in no sum: it leaves where the site's policy says so, or where it was trained
    privately, and is withheld otherwise.
    """
    if policy.single_owner_heads_in_clear or outgoing.spent is not None:
        return outgoing
    owned = tuple(group for group in outgoing.patients if group.startswith(DOMAIN_PREFIX))
    tensors = {name: tensor for name, tensor in outgoing.tensors.items() if group_of(name, grouping) not in owned}
    patients = {group: count for group, count in outgoing.patients.items() if group not in owned}
    return replace(outgoing, tensors=tensors, patients=patients, withheld=outgoing.withheld + owned)


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
    observed: Observed, declared: Mapping[str, Declared], weights: str, policy: Policy, study: Study
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


def _counted(patients: Any, kind: Declared, fewest: int) -> Sums | Histogram | FeatureSums | None:
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
