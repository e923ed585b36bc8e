"""What a site keeps of one round's secure sum between two messages, each of which may meet a new process.

`attempt.json` holds the attempt's one secret and what was accepted so far; `update.safetensors` holds what shall be
summed. Both are the owner's alone to read. The secret and the update are gone as soon as the shares are revealed. Over
which sites a sum was opened is kept for good, beside the runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from client.privacy.outbound import Outgoing
from common.errors import ReleaseError
from common.files import PRIVATE, write_whole
from common.parameters import StateDict
from common.secure.attempt import Attempt
from common.secure.messages import Advert, Adverts, Box, Revealed, Signed
from common.settings.frozen import Frozen, SiteName
from common.spent import Spent

FACTS = "update"


class Rules(Frozen):
    """What the approved study says about its sums, kept for the phases that carry no study."""

    needed: int
    weight_cap_patients: int
    fraction_bits: int


class MaskingState(Frozen):
    """One attempt as far as it has come at this site; what is None has not happened."""

    attempt: Attempt
    rules: Rules
    secret: str = Field(repr=False)
    advert: Advert
    adverts: Adverts | None = None
    boxes: dict[SiteName, Box] | None = None
    against: Signed | None = None
    survivors: tuple[SiteName, ...] | None = None
    agreement: Signed | None = None
    revealed: Revealed | None = None


@dataclass(frozen=True)
class KeptUpdate:
    """What of a finished round may be summed or leave in clear, and which of its tensors each group has.

    `withdrawn` counts the patients of earlier rounds who had been withdrawn when the round was begun.
    """

    outgoing: Outgoing
    groups: Mapping[str, tuple[str, ...]]
    withdrawn: int = 0

    def by_group(self) -> dict[str, StateDict]:
        """Return the tensors of each group, names sorted."""
        tensors = self.outgoing.tensors
        return {group: {name: tensors[name] for name in sorted(names)} for group, names in self.groups.items()}


class Survived(Frozen):
    """Over which sites a sum was opened."""

    survivors: tuple[SiteName, ...]


@dataclass(frozen=True)
class OpenedSums:
    """The folder `<workdir>/secure-sums`: for each update of this site the one list of sites it was summed with.

    An update is known by study, stage and round alone. The coordinator names run, weights and plan, and could change
    each by so little that the update stays the same; one that begins a run anew gets the same update once more.
    """

    path: Path

    def survivors(self, attempt: Attempt) -> tuple[str, ...] | None:
        """Return the list, None where no sum was opened. Raises ReleaseError where it is damaged."""
        path = self._path(attempt)
        try:
            return Survived.model_validate_json(path.read_bytes()).survivors
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{path}: cannot be used ({type(error).__name__}); restore it") from None

    def keep(self, attempt: Attempt, survivors: tuple[str, ...]) -> None:
        """Write the list down, before any share leaves."""
        write_whole(self._path(attempt), Survived(survivors=survivors).model_dump_json().encode(), PRIVATE)

    def _path(self, attempt: Attempt) -> Path:
        update = [attempt.study_digest, attempt.stage.value, attempt.round]
        return self.path / f"{hashlib.sha256(json.dumps(update).encode()).hexdigest()}.json"


@dataclass(frozen=True)
class MaskingFolder:
    """The folder `<workdir>/state/<run>/secure/<stage>/<round>`, and what the site knows of sums that were opened."""

    path: Path
    opened: OpenedSums

    @classmethod
    def of(cls, workdir: Path, attempt: Attempt) -> MaskingFolder:
        """Return the folder of a round's sum at a site."""
        path = workdir / "state" / attempt.run / "secure" / attempt.stage.value / str(attempt.round)
        return cls(path, OpenedSums(workdir / "secure-sums"))

    @property
    def _state(self) -> Path:
        return self.path / "attempt.json"

    @property
    def _update(self) -> Path:
        return self.path / "update.safetensors"

    def state(self) -> MaskingState | None:
        """Return the attempt that this site takes part in, None before the first. Raises ReleaseError if damaged."""
        try:
            return MaskingState.model_validate_json(self._state.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{self._state}: cannot be used ({type(error).__name__}); stop the run") from None

    def keep(self, state: MaskingState) -> None:
        """Write the attempt's state."""
        write_whole(self._state, state.model_dump_json().encode(), PRIVATE)

    def keep_update(self, kept: KeptUpdate, received: Mapping[str, str], policy: str, cohort: str) -> None:
        """Keep what shall be summed, from what and on which cases it was trained, and the policy that allowed it."""
        outgoing = kept.outgoing
        facts = {
            "received": dict(received),
            "policy": policy,
            "cohort": cohort,
            "withdrawn": kept.withdrawn,
            "groups": dict(kept.groups),
            "patients": outgoing.patients,
            "metrics": outgoing.metrics,
            "withheld": outgoing.withheld,
            "spent": None if outgoing.spent is None else outgoing.spent.model_dump(mode="json"),
        }
        write_whole(self._update, save(outgoing.tensors, {FACTS: json.dumps(facts, sort_keys=True)}), PRIVATE)

    def update(self, received: Mapping[str, str], policy: str | None, cohort: str | None = None) -> KeptUpdate | None:
        """Return the kept update that was trained from what was received, None where there is none.

        Args:
            received: digests of what it must have been trained from.
            policy: digest of the policy that must have allowed it; None where any will do.
            cohort: the cases that it must have been trained on; None where any will do.
        Raises:
            ReleaseError: where the file is damaged.
        """
        if not self._update.is_file():
            return None
        try:
            with safe_open(self._update, framework="pt") as file:
                facts = json.loads(file.metadata()[FACTS])
                if facts["received"] != dict(received) or cohort not in (None, facts["cohort"]):
                    return None
                if policy not in (None, facts["policy"]):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            spent = None if facts["spent"] is None else Spent.model_validate(facts["spent"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ReleaseError(f"{self._update}: cannot be used ({type(error).__name__}); delete it") from None
        outgoing = Outgoing(tensors, facts["patients"], facts["metrics"], tuple(facts["withheld"]), spent)
        return KeptUpdate(outgoing, facts["groups"], facts["withdrawn"])

    def forget_secrets(self, state: MaskingState) -> None:
        """Keep of a revealed attempt what a repeated request asks for."""
        self.keep(state.model_copy(update={"secret": "", "boxes": None}))
        self._update.unlink(missing_ok=True)

    def forget_other_rounds(self) -> None:
        """Forget what is left of the run's other rounds."""
        for path in self.path.parents[1].glob("*/*"):
            if path != self.path:
                shutil.rmtree(path)
