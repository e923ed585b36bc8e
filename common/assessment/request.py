"""The question that an assessment puts to a site: which weights of which run are meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from common.plan import Plan
from common.records import Digest, RunId, Task
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from common.study import Study

FINDINGS = "findings"
"""Key of the findings in an answer."""


class AssessmentRequest(Frozen):
    """The averaged weights that are to become a release, each stage's by SHA-256."""

    run: RunId
    study: Study
    study_digest: Digest
    plan: Plan
    weights: Annotated[dict[Stage, Digest], Field(min_length=1)]

    @property
    def digest(self) -> str:
        """The digest under which these weights are assessed once."""
        return weights_digest(self.weights)

    def task(self) -> Task:
        """Return the task whose earlier models are these weights: under it a site keeps and opens them."""
        return Task(
            run=self.run,
            stage=next(iter(self.weights)),
            round=1,
            global_sha256=self.digest,
            study=self.study,
            study_digest=self.study_digest,
            plan=self.plan,
            earlier=self.weights,
        )


def weights_digest(weights: Mapping[Stage, str]) -> str:
    """Return one SHA-256 over the stages' digests."""
    lines = "".join(f"{stage.value} {weights[stage]}\n" for stage in Stage if stage in weights)
    return hashlib.sha256(lines.encode()).hexdigest()
