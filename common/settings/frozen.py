"""What every table of settings is: immutable and strict."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.sequences import SITE_NAME


def _check_name(name: str) -> str:
    if not SITE_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} must be lower-case letters, digits and hyphens, 63 at most")
    return name


Positive = Annotated[int, Field(ge=1, le=10_000_000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e4)]
Name = Annotated[str, AfterValidator(_check_name)]
"""Of a site, a study or a consortium: it may become a folder's and a parameter's."""
SiteName = Name


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused, no silent conversion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
