"""`[gate]`: what an update must look like beside the others before it counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings.frozen import Frozen


class GateSettings(Frozen):
    """How far an update may stand out: `norm_limit` times the cohort's median norm in any group; 0 lets all pass."""

    norm_limit: Annotated[float, Field(ge=0, le=1e6)] = 10.0
