"""The sites of a run: who answered the inventory query from which node, and who did not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import RecordDict
from flwr.app.message_type import MessageType

from common.plan import SiteInventory
from common.records import ANSWER, OK, TASK, Answer, Greys, Question, WireError, pack_text, read_text
from common.sequences import Sequence
from common.study import Study
from server.exchange import Exchange, Reply
from server.result import SiteFault

GRACE_S = 60.0
"""How long the roll call waits for every site before it is content with the quorum."""


@dataclass(frozen=True)
class Member:
    """One site that answered: its node, and what it says it has."""

    site: str
    node: int
    inventory: SiteInventory
    greys: Mapping[Sequence, Greys]


@dataclass(frozen=True)
class Roster:
    """Members by site name, sorted; faults name the sites of the study that did not answer well."""

    members: Mapping[str, Member]
    faults: tuple[SiteFault, ...]

    def site_of(self, node: int) -> str:
        """Return the site behind `node`."""
        return next(member.site for member in self.members.values() if member.node == node)


def call_roll(exchange: Exchange, study: Study) -> Roster:
    """Ask every node that is online what it has; the answers of the study's sites make the roster."""
    nodes = _wait_for_nodes(exchange, study)
    question = RecordDict({TASK: pack_text(Question(study=study, study_digest=study.digest))})
    found: dict[str, list[Member]] = {}
    codes: dict[str, str] = {}
    for reply in exchange.ask(
        dict.fromkeys(nodes, question), MessageType.QUERY, "inventory", study.federation.deadline_s
    ):
        read = _read(reply, study)
        if isinstance(read, Member):
            found.setdefault(read.site, []).append(read)
        elif read is not None:
            codes[read.site] = read.code
    members = {site: found[site][0] for site in sorted(found) if len(found[site]) == 1}
    codes |= {site: "named-by-two-nodes" for site, claims in found.items() if len(claims) > 1}
    absent = [site for site in sorted(study.sites) if site not in members]
    return Roster(members, tuple(SiteFault(site, codes.get(site, "no-answer")) for site in absent))


def _wait_for_nodes(exchange: Exchange, study: Study) -> tuple[int, ...]:
    """Wait for as many nodes as the study has sites; after `GRACE_S` the quorum will do; at most for the deadline."""
    started, pause_s = time.monotonic(), 0.1
    while True:
        nodes, waited_s = exchange.nodes(), time.monotonic() - started
        enough = len(study.sites) if waited_s < GRACE_S else study.federation.quorum
        if len(nodes) >= enough or waited_s >= study.federation.deadline_s:
            return nodes
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 2.0)


def _read(reply: Reply, study: Study) -> Member | SiteFault | None:
    """Return the member behind a reply, a fault where a site of the study says why not, None where nobody is known."""
    if reply.content is None:
        return None
    try:
        answer = read_text(reply.content, ANSWER, Answer)
    except WireError:
        return None
    if answer.site not in study.sites:
        return None
    if answer.code != OK:
        return SiteFault(answer.site, answer.code)
    inventory = answer.inventory
    if inventory is None or inventory.site != answer.site or not set(inventory.sequences) <= set(study.sequences):
        return SiteFault(answer.site, "malformed-inventory")
    return Member(answer.site, reply.node, inventory, answer.greys)
