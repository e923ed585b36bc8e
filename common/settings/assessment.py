"""`[assessment]`: whether the sites judge a release on their own patients before it becomes one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings.frozen import Frozen


class Assessment(Frozen):
    """After the last stage every site measures the averaged models on its held-out patients and answers sums alone.

    A site has `deadline_s` seconds; one that is silent is named in `assessment.json`, and the release goes on.
    """

    enabled: bool = False
    deadline_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 3600.0
