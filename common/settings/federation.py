"""`[federation]`: who must take part in a round, and until when."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings.frozen import Frozen, Positive

LONGEST_DEADLINE_S = 7 * 86400


class Federation(Frozen):
    """Who must take part in a round: at least `quorum` sites, and all that `required` names, until the deadline.

    A stage may have a deadline of its own. A site that is not there at all is waited for `absence_s` where the others
    suffice, until the deadline where they do not.
    """

    quorum: Positive = 1
    required: tuple[str, ...] = ()
    deadline_s: Annotated[float, Field(gt=0, le=LONGEST_DEADLINE_S)] = 3600.0
    absence_s: Annotated[float, Field(ge=0, le=LONGEST_DEADLINE_S)] = 120.0
    weight_cap_patients: Positive = 1000
