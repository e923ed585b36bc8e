"""What private training has cost a site's patients, as the site says it and a release repeats it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings.frozen import Frozen


class Spent(Frozen):
    """Epsilon of one stage and of its study so far: a function of settings and rounds, never of images.

    Attributes:
        delta: at which epsilon is meant.
        steps: noisy moves of the stage so far, those of abandoned rounds among them.
        stage_epsilon, study_epsilon: of the stage, and of all private stages of the study so far.
    """

    delta: Annotated[float, Field(gt=0, lt=1)]
    steps: Annotated[int, Field(ge=1)]
    stage_epsilon: Annotated[float, Field(ge=0)]
    study_epsilon: Annotated[float, Field(ge=0)]
