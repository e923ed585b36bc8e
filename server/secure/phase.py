"""One phase of a secure sum at the coordinator: a message to each site, and what of the answers can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from flwr.app import RecordDict

from common.logs import logger
from common.records import ANSWER, OK, Answer, WireError, read_text, size_bytes
from server.exchange import Exchange, Patience, Reply
from server.secure.transcript import Traffic

log = logger(__name__)
Taken = TypeVar("Taken")
ABSENT = "absent"
"""Code of a site that took part in an earlier phase and is no longer a member."""


@dataclass(frozen=True)
class Phase:
    """A message to each of `contents` (by site), until the deadline.

    Sites that cannot be reached are waited for so long only where fewer than `needed` have answered well.
    """

    exchange: Exchange
    message_type: str
    group: str
    deadline_s: float
    nodes: Mapping[str, int]
    contents: Mapping[str, RecordDict]
    needed: int

    def collect(self, take: Callable[[str, RecordDict], Taken]) -> tuple[dict[str, Taken], Traffic]:
        """Return what `take` makes of each good answer, by site, and what the phase cost.

        A site whose answer does not come, says no, or makes `take` raise WireError has left, with that code.
        """
        by_node = {self.nodes[site]: site for site in self.contents if site in self.nodes}
        taken: dict[str, Taken] = {}
        left = {site: ABSENT for site in self.contents if site not in self.nodes}
        up = dict.fromkeys(self.contents, 0)
        asked = {node: self.contents[site] for node, site in by_node.items()}
        patience = Patience(satisfied=lambda: len(taken) >= self.needed)
        for reply in self.exchange.ask(asked, self.message_type, self.group, self.deadline_s, patience):
            site = by_node[reply.node]
            up[site] = size_bytes(reply.content) if reply.content is not None else 0
            try:
                taken[site] = take(site, good_answer(site, reply))
            except WireError as error:
                left[site] = error.code
                log.warning("%s: %s leaves the sum: %s (%s)", self.group, site, error.code, error)
        down = {site: size_bytes(content) for site, content in self.contents.items()}
        return dict(sorted(taken.items())), Traffic(left=left, bytes_down=down, bytes_up=up)


def good_answer(site: str, reply: Reply) -> RecordDict:
    """Return the content of a site's answer that says `ok`. Raises WireError with the code where there is none."""
    if reply.content is None:
        raise WireError(reply.code, "no answer")
    answer = read_text(reply.content, ANSWER, Answer)
    if answer.site != site:
        raise WireError("wrong-site", f"the node of {site} answered as {answer.site}")
    if answer.code != OK:
        raise WireError(answer.code, "the site says no")
    return reply.content
