"""An update as it travels: what training changed, coded, and beside it what the coding rounded off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from common.errors import ReleaseError
from common.files import write_whole
from common.parameters import StateDict
from common.wire.coding import Coded, Coding
from common.wire.difference import send_change


@dataclass(frozen=True)
class CodedUpdate:
    """Coded changes of tensors, and the residuals that the next round's update makes good."""

    changes: dict[str, Coded]
    residuals: StateDict


def code_update(
    tensors: StateDict, received: StateDict, residuals: StateDict, coding: Mapping[str, Coding]
) -> CodedUpdate:
    """Code the changes of those `tensors` that `coding` names; the residuals of tensors that stay here remain."""
    changes: dict[str, Coded] = {}
    left = dict(residuals)
    for name in sorted(set(tensors) & set(coding)):
        sent = send_change(tensors[name], received[name], residuals.get(name), coding[name])
        changes[name], left[name] = sent.coded, sent.residual
    return CodedUpdate(changes, left)


def load_residuals(path: Path | None) -> StateDict:
    """Return what an earlier round rounded off, nothing where there was none. Raises ReleaseError where damaged."""
    if path is None or not path.is_file():
        return {}
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ReleaseError(
            f"{path}: rounding residuals cannot be used ({error}); delete it to go on without them"
        ) from None


def keep_residuals(path: Path, residuals: StateDict) -> None:
    """Write the residuals under their round, before its update leaves; a repeated round writes the same again."""
    write_whole(path, save({name: tensor.contiguous() for name, tensor in residuals.items()}))
