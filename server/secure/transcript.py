"""What the coordinator has of a secure sum on disk: each phase whole before the next begins, so that it can go on.

Nothing here is one site's bare update: masked numbers are uniform, and the shares that open their sum open no part.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from safetensors.torch import save as save_tensors

from common.errors import ReleaseError
from common.files import write_whole
from common.parameters import StateDict
from common.secure.fixed_point import Words
from common.secure.messages import Adverts, Dealt, Revealed, Signed
from common.settings.frozen import Frozen, SiteName
from common.settings.stages import Stage

Text = TypeVar("Text", bound=BaseModel)
ABANDONED = "abandoned"


class Traffic(Frozen):
    """What a phase cost: payload bytes by site, and who left in it with which code."""

    left: dict[SiteName, str] = Field(default_factory=dict)
    bytes_down: dict[SiteName, int] = Field(default_factory=dict)
    bytes_up: dict[SiteName, int] = Field(default_factory=dict)


class Trained(Frozen):
    """The first phase: everybody's keys, and each site's entry in the round's record."""

    adverts: Adverts
    entries: dict[SiteName, dict[str, Any]]
    sat_out: tuple[SiteName, ...]


class Shares(Frozen):
    """The second phase: everybody's boxes."""

    dealt: dict[SiteName, Dealt]
    traffic: Traffic


class Masked(Frozen):
    """The third phase: whose masked numbers lie beside this file; they are what is summed."""

    against: dict[SiteName, Signed]
    traffic: Traffic

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites that are summed, sorted."""
        return tuple(sorted(self.against))


class Agreed(Frozen):
    """The fourth phase, which may be filled in several tries: who signed the list of survivors."""

    agreements: dict[SiteName, Signed] = Field(default_factory=dict)


class Shown(Frozen):
    """The fifth phase, which may be filled in several tries: who revealed which shares."""

    revealed: dict[SiteName, Revealed] = Field(default_factory=dict)


PHASES = {Trained: "trained", Shares: "shares", Masked: "masked", Agreed: "agreed", Shown: "revealed"}


@dataclass(frozen=True)
class Transcript:
    """The folder `<out>/journal/secure/<stage>/<round>/<attempt>`."""

    path: Path

    @classmethod
    def latest(cls, out: Path, stage: Stage, number: int) -> Transcript:
        """Return the attempt that was begun last, or the next one where that was abandoned."""
        folder = out / "journal" / "secure" / stage.value / str(number)
        begun = max((int(path.name) for path in folder.glob("[0-9]*")), default=0)
        last = cls(folder / str(max(begun, 1)))
        return cls(folder / str(begun + 1)) if last.abandoned else last

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return int(self.path.name)

    @property
    def abandoned(self) -> bool:
        """Whether another attempt must follow."""
        return (self.path / ABANDONED).is_file()

    def abandon(self, reason: str) -> None:
        """Give the attempt up; its numbers go, that it was goes not."""
        write_whole(self.path / ABANDONED, f"{reason}\n".encode())
        for path in self.path.iterdir():
            if path.name != ABANDONED:
                path.unlink()

    def keep(self, phase: Trained | Shares | Masked | Agreed | Shown) -> None:
        """Write a phase that is over."""
        write_whole(self._file(type(phase)), phase.model_dump_json().encode())

    def read(self, kind: type[Text]) -> Text | None:
        """Return a phase that is over, None where it is not. Raises ReleaseError where its file is damaged."""
        try:
            return kind.model_validate_json(self._file(kind).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise _damaged(self._file(kind), error) from None

    def keep_words(self, site: str, words: dict[str, Words]) -> None:
        """Write a site's masked numbers."""
        write_whole(self.path / f"{site}.safetensors", save(dict(words)))

    def words(self, site: str, group: str) -> Words:
        """Return a site's masked numbers of one group. Raises ReleaseError where they are damaged."""
        path = self.path / f"{site}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                words: Words = file.get_tensor(group)
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from None
        return words

    def keep_tensors(self, name: str, tensors: StateDict) -> Path:
        """Write tensors that need no mask, the opened sum or heads that were sent in clear, and return their file."""
        path = self.path / f"{name}.clear.safetensors"
        write_whole(path, save_tensors({key: tensor.contiguous() for key, tensor in tensors.items()}))
        return path

    def clear(self, name: str) -> Path | None:
        """Return the file of such tensors, None where there is none."""
        path = self.path / f"{name}.clear.safetensors"
        return path if path.is_file() else None

    def _file(self, kind: type[BaseModel]) -> Path:
        return self.path / f"{PHASES[kind]}.json"


def forget_transcripts(out: Path) -> None:
    """Remove what the sums of finished rounds left."""
    shutil.rmtree(out / "journal" / "secure", ignore_errors=True)


def _damaged(path: Path, error: Exception) -> ReleaseError:
    return ReleaseError(f"{path}: cannot be used ({type(error).__name__}); restore it, or start a new run")
