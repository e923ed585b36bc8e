"""`[assessment]`: whether the sites judge a release on their own patients before it becomes one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from common.settings.frozen import Frozen


class Assessment(Frozen):
    """After the last stage every site measures the averaged models on its held-out patients and answers sums alone.

    A site has `deadline_s` seconds; one that is silent is named in `assessment.json`, and the release goes on. With
    `site_alone` each also trains generator and segmenter by itself, on its own patients, to be compared with: as long
    as it took in the federation.
    """

    enabled: bool = False
    site_alone: bool = False
    deadline_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 3600.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.site_alone and not self.enabled:
            raise ValueError("site_alone: needs enabled = true beside it, or nobody is asked")
        return self
