"""First weights of the identifier from a file that the coordinator gives: the study names its hash, so all agree.

Sites need no copy: they receive the global weights with the first round.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from common.errors import ReleaseError, StudyError
from common.parameters import StateDict
from common.records import declare
from common.study import Study


def read_first_weights(study: Study, path: Path | None) -> StateDict | None:
    """Return the tensors of the file; None where the study names none.

    Raises:
        StudyError: where the study names weights and no file is given, or the other way round.
        ReleaseError: where the file cannot be read, or is not the one that the study names.
    """
    settings = study.stages.identifier
    expected = settings.weights_sha256 if settings is not None else None
    if expected is None and path is not None:
        raise StudyError(
            f"{path}: the study names no identifier weights; add its SHA-256 as stages.identifier.weights_sha256"
        )
    if expected is None:
        return None
    if path is None:
        raise StudyError(
            f"the study wants identifier weights of SHA-256 {expected[:12]}…; give their file (--identifier-weights)"
        )
    try:
        blob = path.read_bytes()
        found = hashlib.sha256(blob).hexdigest()
        if found != expected:
            raise ReleaseError(
                f"{path}: SHA-256 is {found[:12]}…, the study says {expected[:12]}…; give the right file"
            )
        return load(blob)
    except (OSError, SafetensorError) as error:
        raise ReleaseError(f"{path}: not a readable safetensors file ({type(error).__name__})") from None


def check_fit(given: StateDict, initial: StateDict) -> StateDict:
    """Return `given` where it holds exactly the network's tensors, by name, type and shape. Raises ReleaseError."""
    ours, theirs = declare(initial), declare(given)
    wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if wrong:
        raise ReleaseError(
            f"the identifier weights differ from the study's network in {len(wrong)} of {len(ours)} tensors, "
            f"the first is {wrong[0]}; give weights of this version and size"
        )
    return given
