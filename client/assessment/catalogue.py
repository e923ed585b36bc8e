"""Which module holds which assessor; each is imported when a study asks for it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from client.assessment.examination import Assessor

ASSESSORS: Mapping[str, str] = {
    "translation": "client.assessment.translation",
    "segmentation": "client.assessment.segmentation",
    "identification": "client.assessment.identification",
    "membership": "client.assessment.membership",
    "memorisation": "client.assessment.memorisation",
}


def assessor(name: str) -> Assessor:
    """Return the `assess` of an assessor's module."""
    module: Any = importlib.import_module(ASSESSORS[name])
    return cast(Assessor, module.assess)
