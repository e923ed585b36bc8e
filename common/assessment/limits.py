"""Whether a release keeps the limits that its study sets on attacks; silence is no promise."""

from __future__ import annotations

from common.assessment import membership, memorisation
from common.assessment.dossier import WITHDRAWN, Dossier
from common.records import OK
from common.study import Study


def refusal(study: Study, dossier: Dossier) -> str | None:
    """Say why these weights may not be released under the study's `[attacks]`; None where they may.

    A site that has too few patients to say anything says so and is passed over; one that does not answer, or whose
    attacks fail, is not: nobody knows what the release gives away of its patients. A site that a person has withdrawn
    may not be asked any more, and is passed over too.
    """
    limits = study.attacks
    asked = {
        membership.MEMBERSHIP: limits.membership_limit is not None,
        memorisation.MEMORISATION: limits.memorised_limit is not None,
    }
    if not any(asked.values()):
        return None
    silent = [f"{site}: {status.code}" for site, status in dossier.sites.items() if status.code not in (OK, WITHDRAWN)]
    silent += [
        f"{site}: {attack} failed with {status.failed[attack]}"
        for site, status in dossier.sites.items()
        for attack, wanted in asked.items()
        if wanted and attack in status.failed
    ]
    if silent:
        return f"attacks were not measured at every site ({'; '.join(silent)}); resume the run once they answer"
    found = (membership.refusal(study, dossier.membership), memorisation.refusal(study, dossier.memorisation))
    return next((reason for reason in found if reason is not None), None)
