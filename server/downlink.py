"""What goes down in a round: the global groups as the sites receive them, and to each site only those that it lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flwr.app import ArrayRecord

from common.parameters import Grouping, StateDict, by_group, travelling
from common.records import GLOBAL, Declared, declare, pack_tensors, unpack_tensors
from common.settings.wire import Wire
from common.wire.coding import as_received
from common.wire.difference import restore
from common.wire.digest import digest_of
from common.wire.selection import coding_of


class Downlink:
    """One round's global tensors on their way, and back: every group is packed once, whatever the number of sites."""

    def __init__(self, tensors: StateDict, wire: Wire, grouping: Grouping) -> None:
        """Pack the global `tensors`; local ones and statistics stay here."""
        self._master, self._wire, self._grouping = tensors, wire, grouping
        groups = by_group(travelling(tensors, grouping), grouping)
        coding = coding_of(declare(tensors), groups, wire.down, grouping)
        self._received = {name: as_received(tensors[name], each) for name, each in coding.items()}
        self._arrays: dict[str, ArrayRecord] = {}
        self._digests: dict[str, str] = {}
        for group, names in groups.items():
            here = {name: tensors[name] for name in names}
            self._arrays[group] = pack_tensors(here, coding)
            self._digests[group] = digest_of({name: self._received.get(name, here[name]) for name in names})

    def groups(self, known: Collection[str]) -> dict[str, str]:
        """Return which of the groups that a site may know there are, each with the digest of what it receives."""
        return {group: digest for group, digest in self._digests.items() if group in known}

    def lacking(self, known: Collection[str], holds: Collection[str]) -> dict[str, ArrayRecord]:
        """Return the groups that a site may know and does not hold; sites share the records, not copies of them."""
        return {
            GLOBAL + group: self._arrays[group] for group, digest in self.groups(known).items() if digest not in holds
        }

    def read_update(self, record: ArrayRecord, declared: Mapping[str, Declared], known: Collection[str]) -> StateDict:
        """Return the tensors of a site's update in full, whatever they travelled as.

        What a site changed counts from what it received, and is added to the tensors that stand here.

        Raises:
            WireError: where an array is not as declared.
        """
        groups = self.groups(known)
        changes = coding_of(declared, groups, self._wire.up, self._grouping)
        rounded = coding_of(declared, groups, self._wire.down, self._grouping)
        tensors = unpack_tensors(record, declared, changes)
        for name in changes:
            tensors[name] = restore(tensors[name], self._master[name])
        for name in sorted(set(rounded) - set(changes)):
            tensors[name] = restore(tensors[name] - self._received[name], self._master[name])
        return tensors
