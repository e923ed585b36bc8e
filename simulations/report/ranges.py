"""Ranges of the numbers in `summary.json`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Greys = Annotated[float, Field(ge=0, le=255)]
Seconds = Annotated[float, Field(ge=0)]
