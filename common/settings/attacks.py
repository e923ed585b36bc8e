"""`[attacks]`: what an attack on the release may achieve before the release is refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings.frozen import Frozen, Positive


class Attacks(Frozen):
    """The attacks that each site plays on a release with its own patients, where the study asks for an assessment.

    `membership_limit` bounds the area under the ROC curve of every membership attack on every released model, where
    1/2 is guessing; `memorised_limit` the share of held-out patients whose drawing copies a trained patient. It is the
    upper confidence bound at one-sided `confidence` that must not exceed a limit.
    """

    enabled: bool = True
    membership_limit: Annotated[float, Field(gt=0.5, le=1)] | None = None
    memorised_limit: Annotated[float, Field(gt=0, le=1)] | None = None
    confidence: Annotated[float, Field(ge=0.8, lt=1)] = 0.95
    most_patients: Positive = 200

    def problem(self, assessed: bool, holdout_fraction: float) -> str | None:
        """Say why nobody would measure a limit that is set, which would look like a promise; None where it is kept."""
        if self.membership_limit is None and self.memorised_limit is None:
            return None
        if not (assessed and self.enabled):
            return "a limit needs [assessment] enabled = true and [attacks] enabled = true"
        return None if holdout_fraction else "a limit needs patients that no model saw; raise data.holdout_fraction"
