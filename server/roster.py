"""The sites of a run: who of those on the roster answered the inventory query, and who did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict
from flwr.app.message_type import MessageType

from common import roster_file
from common.errors import StudyError
from common.plan import Plan, SiteInventory
from common.records import ANSWER, OK, PLAN, TASK, Answer, Greys, Question, WireError, pack_text, read_text
from common.sequences import Sequence
from common.study import Study
from server.exchange import Exchange, Patience, Reply
from server.result import SiteFault

GRACE_S = 60.0
"""How long the roll call waits for every site to be there before it is content with the quorum."""

INVENTORY = "inventory"
"""What the roll call's messages are grouped under."""


@dataclass(frozen=True)
class Member:
    """One site that answered: its node, what it says it has, and what it still holds of the run's tensors.

    `withdrawn` counts its patients of earlier rounds of the run that have been withdrawn since.
    """

    site: str
    node: int
    inventory: SiteInventory
    greys: Mapping[Sequence, Greys]
    holds: frozenset[str] = frozenset()
    withdrawn: int = 0


@dataclass(frozen=True)
class Roster:
    """Members by site name, sorted; faults name the sites of the study that did not answer well."""

    members: Mapping[str, Member]
    faults: tuple[SiteFault, ...]

    def planned(self, plan: Plan, nodes: Mapping[str, int]) -> Roster:
        """Return the sites of the frozen `plan` as members: who missed this roll call is asked in every round still."""
        members = {
            entry.site: self.members.get(entry.site) or Member(entry.site, nodes[entry.site], entry, {})
            for entry in plan.inventory
        }
        return Roster(members, self.faults)

    def site_of(self, node: int) -> str:
        """Return the site behind `node`."""
        return next(member.site for member in self.members.values() if member.node == node)


def call_roll(
    exchange: Exchange, study: Study, nodes: Mapping[str, int], run: str | None = None, plan: str | None = None
) -> Roster:
    """Ask the sites, each at its node in `nodes`, what they have; their answers make the roster.

    Nobody else is asked, and an answer under another name than the node's does not count. A site that is at work on its
    answer is waited for until the deadline, one that is not there for `GRACE_S` where the quorum is met without it. The
    signed study plan, where the run has one, goes with the question.
    """
    contents = {node: _question(study, run, plan) for node in nodes.values()}
    site_at = {node: site for site, node in nodes.items()}
    found: dict[str, Member] = {}
    codes: dict[str, str] = {}
    federation = study.federation
    patience = Patience(
        GRACE_S, satisfied=lambda: len(found) >= federation.quorum and set(federation.required) <= set(found)
    )
    for reply in exchange.ask(contents, MessageType.QUERY, INVENTORY, federation.deadline_s, patience):
        site = site_at[reply.node]
        read = _read(reply, site, study)
        if isinstance(read, Member):
            found[site] = read
        else:
            codes[site] = read
    return Roster(
        {site: found[site] for site in sorted(found)}, tuple(SiteFault(site, codes[site]) for site in sorted(codes))
    )


def admitted_nodes(study: Study, admitted: roster_file.Roster) -> Mapping[str, int]:
    """Return the node of each of the study's sites. Raises StudyError where one was never admitted."""
    missing = sorted(set(study.sites) - set(admitted.sites))
    if missing:
        raise StudyError(f"the roster lacks {', '.join(missing)}, which the study names; admit them, or leave them out")
    return {site: admitted.sites[site].node for site in study.sites}


def _question(study: Study, run: str | None, plan: str | None) -> RecordDict:
    asked = RecordDict({TASK: pack_text(Question(study=study, study_digest=study.digest, run=run))})
    if plan is not None:
        asked[PLAN] = ConfigRecord({"json": plan})
    return asked


def _read(reply: Reply, site: str, study: Study) -> Member | str:
    """Return the member behind a reply, or the code that says why there is none."""
    if reply.content is None:
        return reply.code
    try:
        answer = read_text(reply.content, ANSWER, Answer)
    except WireError as error:
        return error.code
    if answer.site != site:
        return "wrong-site"
    if answer.code != OK:
        return answer.code
    inventory = answer.inventory
    if inventory is None or inventory.site != site or not set(inventory.sequences) <= set(study.sequences):
        return "malformed-inventory"
    return Member(site, reply.node, inventory, answer.greys, frozenset(answer.holds), answer.withdrawn)
