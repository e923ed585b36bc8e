"""The gate that every update passes before it counts: of this round, declared tensors of permitted groups, finite.

A table of validation patients holds shares of them and nothing else.

What can only be judged beside the other sites' updates is in `server.update_norms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, RecordDict

from common.parameters import LOCAL, PLAIN, STATISTICS, Grouping, StateDict, group_of
from common.records import (
    ANSWER,
    OK,
    UPDATE,
    Answer,
    Declared,
    RoundKey,
    WireError,
    arrays_of,
    read_metrics,
    read_text,
    unpack_tensors,
)
from common.spent import Spent
from server.validation_shares import false_shares

Unpack = Callable[[ArrayRecord, Mapping[str, Declared]], StateDict]


@dataclass(frozen=True)
class Accepted:
    """An update that passed: its tensors, the patients behind each group, the site's metrics, and what privacy it cost.

    `withdrawn` counts the site's patients of earlier rounds who have been withdrawn since.
    """

    tensors: StateDict
    patients: Mapping[str, int]
    metrics: Mapping[str, float]
    withheld: tuple[str, ...]
    withdrawn: int = 0
    spent: Spent | None = None


@dataclass(frozen=True)
class Gate:
    """What one stage allows.

    Attributes:
        declared: dtype and shape of every tensor of the stage.
        permitted: per site, the groups that it may send.
        grouping: which tensors are a site's own; local ones never travel up.
    """

    declared: Mapping[str, Declared]
    permitted: Mapping[str, frozenset[str]]
    grouping: Grouping = PLAIN

    def admit(self, site: str, content: RecordDict, key: RoundKey, unpack: Unpack = unpack_tensors) -> Accepted | str:
        """Return what an answer of `site` brings, or the code with which the site itself says why it brings nothing.

        An update holds the floating-point tensors of the groups that it names, all of them and no other. It may not
        name a group that is not the site's, and it must name the round's `key`: run, stage, round and the global
        tensors that it was trained from, so that nothing that was sent before can count again.

        Args:
            site: whose node answered.
            content: the answer.
            key: what it must name.
            unpack: turns arrays into tensors as declared, in full, whatever they travelled as.
        Raises:
            WireError: with a code that names what is wrong.
        """
        answer = read_text(content, ANSWER, Answer)
        if answer.site != site:
            raise WireError("wrong-site", f"the node of {site} answered as {answer.site}")
        if answer.code != OK:
            return answer.code
        if not answer.patients:
            return "nothing-may-leave"
        if answer.key != key:
            raise WireError("replayed", f"{site} sent an update of {_named(answer.key)}, asked for {_named(key)}")
        foreign = sorted(set(answer.patients) - (self.permitted[site] - {LOCAL}))
        if foreign:
            raise WireError(
                "foreign-group", f"{site} sent {len(foreign)} groups that are not its own: {foreign[0]:.120}"
            )
        tensors = unpack(arrays_of(content, UPDATE), self._expected(answer))
        broken = sorted(name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
        if broken:
            raise WireError("not-finite", f"{site} sent NaN or infinity in {len(broken)} tensors: {broken[0]:.120}")
        if STATISTICS in answer.patients:
            _refuse_false_shares(site, tensors)
        return Accepted(
            tensors, answer.patients, read_metrics(content), answer.withheld, answer.withdrawn, answer.spent
        )

    def _expected(self, answer: Answer) -> dict[str, Declared]:
        return {
            name: declared
            for name, declared in self.declared.items()
            if declared.is_floating and group_of(name, self.grouping) in answer.patients
        }


def _refuse_false_shares(site: str, tensors: StateDict) -> None:
    """Raise WireError where a table of validation patients is none: statistics have no norm to be held against."""
    wrong = false_shares(tensors[f"{STATISTICS}.decisions"].numpy(), tensors[f"{STATISTICS}.scores"].numpy())
    if wrong is not None:
        raise WireError("out-of-range", f"{site} sent a table of validation patients in which {wrong}")


def _named(key: RoundKey) -> str:
    """Return the key as a reader wants it."""
    return f"{key.stage} round {key.round} of run {key.run} from global state {(key.global_sha256 or 'none')[:12]}"
