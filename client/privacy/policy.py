"""A site's own policy: which studies, which sequences, and how many patients must stand behind what leaves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from common.errors import PolicyError
from common.sequences import Sequence
from common.study import Frozen, Study

ANY_STUDY = "*"


class Policy(Frozen):
    """The site's last word; the study can be stricter, never laxer.

    Attributes:
        minimum_patients: fewest patients behind a sequence, a parameter group or a metric that leaves.
        sequences: sequences that may be used; null for all that the study names.
        studies: digests (study and code version) that a person approved, or `*` for simulations.
    """

    minimum_patients: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    sequences: tuple[Sequence, ...] | None = None
    studies: tuple[Annotated[str, StringConstraints(pattern=r"^(\*|[0-9a-f]{64})$")], ...] = ()

    def check_study(self, study: Study) -> None:
        """Refuse a study that nobody at this site approved. Raises PolicyError."""
        if ANY_STUDY not in self.studies and study.digest not in self.studies:
            raise PolicyError(
                f"study {study.name!r} with digest {study.digest} is not approved at this site; "
                "add the digest to policy.studies in site.toml once a person has read it"
            )

    def allows(self, sequence: Sequence) -> bool:
        """Return whether `sequence` may be used."""
        return self.sequences is None or sequence in self.sequences

    def patients_behind_training(self, study: Study) -> int:
        """Return the fewest patients behind a sequence or a parameter group that may be trained on and sent."""
        return max(self.minimum_patients, study.data.minimum_patients)

    def patients_behind_metric(self, study: Study) -> int:
        """Return the fewest patients behind a metric that may be sent."""
        return max(self.minimum_patients, study.reporting.minimum_count)
