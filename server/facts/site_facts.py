"""The sites of a consortium: whether each is there, what it gave, and whether somebody should call it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from common.errors import GliofedError
from common.files import read_at_most
from common.records import NOT_APPROVED
from common.roster_file import load_roster
from server.consortium.folder import Consortium
from server.consortium.revoked import load_revoked
from server.facts.fleet import Fleet, NodeSeen, unknown_fleet
from server.facts.run_facts import RunFacts, runs
from server.facts.site_in_run import SiteInRun

if TYPE_CHECKING:
    from server.consortium.renewal import Ending

EXPIRES_SOON_DAYS = 30.0


class Health(StrEnum):
    """One word for how a site is; the gravest that holds."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    SILENT = "silent"
    FAILING = "failing"
    EXPIRING = "expiring"
    NEW = "new"
    UNKNOWN = "unknown"
    OK = "ok"


@dataclass(frozen=True)
class SiteFacts:
    """One site of the roster, or one that was revoked.

    Attributes:
        fingerprint: of its key, `SHA256:…`; None where the roster holds no key.
        node: under which Flower knows it; None once it is revoked.
        online: whether the SuperLink hears it; None where no SuperLink could be asked.
        last_seen: when the SuperLink last heard it, or its last update came in; None where neither ever happened.
        certificate_days: until the first of the certificates ends on which its connection stands: the authority that
            it pins, the server's. Below zero where one has ended; None where none can be read.
        code_version: of the last run that it answered, of its request before; a site that has other code is refused
            as `other-code`.
        rounds: of all runs, to which it contributed.
        faults: of all runs.
        last_fault: code of the latest, with its run.
        health, why: one word, and a sentence; empty where all is well.
    """

    name: str
    fingerprint: str | None
    node: int | None
    online: bool | None
    last_seen: datetime | None
    certificate_days: float | None
    code_version: str | None
    rounds: int
    faults: int
    last_fault: str | None
    health: Health
    why: str


def sites(consortium: Consortium, fleet: Fleet = unknown_fleet) -> tuple[SiteFacts, ...]:
    """Return the consortium's sites by name, the revoked ones too.

    Args:
        fleet: who says which nodes are heard; `superlink_fleet` asks the SuperLink.
    Raises:
        StudyError: where the roster or the list of revoked keys cannot be read.
    """
    from common.identity.signing import VerifyKey
    from server.consortium.renewal import first_to_end

    admitted = load_roster(consortium.roster).sites if consortium.roster.is_file() else {}
    keys = {name: entry.signing_key for name, entry in admitted.items()}
    return facts_of_sites(
        fingerprints={name: None if pem is None else VerifyKey.from_pem(pem).fingerprint for name, pem in keys.items()},
        numbers={name: entry.node for name, entry in admitted.items()},
        revoked=_revoked(consortium, admitted),
        nodes=fleet(),
        requested={name: _requested(consortium, name, key) for name, key in keys.items()},
        played=runs(consortium),
        ending=first_to_end(consortium),
    )


def _requested(consortium: Consortium, site: str, key: str | None) -> str | None:
    """Return the version that the admitted request of a site names; None where no such request is kept."""
    from common.identity.request import MAX_REQUEST, read_request

    place = consortium.requests / f"{site}.json"
    try:
        request = read_request(read_at_most(place, MAX_REQUEST), str(place)) if place.is_file() else None
    except GliofedError:
        return None
    return request.code_version if request is not None and request.public_key == key else None


def _revoked(consortium: Consortium, admitted: Container[str]) -> dict[str, str]:
    """Return the sites that were shut out and not admitted again with another key, each with a sentence."""
    keys = load_revoked(consortium.revoked).keys
    return {key.site: f"its key was revoked on {key.at:%Y-%m-%d}" for key in keys if key.site not in admitted}


def facts_of_sites(
    fingerprints: Mapping[str, str | None],
    numbers: Mapping[str, int],
    revoked: Mapping[str, str],
    nodes: Mapping[int, NodeSeen] | None,
    requested: Mapping[str, str | None],
    played: Iterable[RunFacts],
    ending: Ending | None,
) -> tuple[SiteFacts, ...]:
    """Return one entry a site, by name.

    Args:
        fingerprints: site → of its key.
        numbers: site → node, of the sites of the roster.
        revoked: site → a sentence, of those that were revoked.
        nodes: what the SuperLink says; None where it cannot be asked.
        requested: site → the version that its request names.
        played: the runs.
        ending: the first of the certificates to end.
    """
    known = list(played)
    found = []
    for name in sorted({*numbers, *revoked}):
        number = None if name in revoked else numbers[name]
        seen = None if nodes is None or number is None else nodes.get(number, NodeSeen("unregistered", None))
        past = _Past.of(name, known)
        health, why = _health(revoked.get(name), ending, seen, past)
        found.append(
            SiteFacts(
                name=name,
                fingerprint=fingerprints.get(name),
                node=number,
                online=None if seen is None else seen.status == "online",
                last_seen=max((at for at in (seen and seen.last_seen, past.answered) if at), default=None),
                certificate_days=None if ending is None else ending.days,
                code_version=past.code_version or requested.get(name),
                rounds=past.rounds,
                faults=past.faults,
                last_fault=past.last_fault,
                health=health,
                why=why,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _Past:
    """What a site did in all runs; `failing` says how it fails in a run that goes on."""

    rounds: int
    faults: int
    answered: datetime | None
    code_version: str | None
    last_fault: str | None
    failing: str | None

    @classmethod
    def of(cls, site: str, played: Iterable[RunFacts]) -> _Past:
        own = [(run, each) for run in played for each in run.sites if each.site == site]
        own.sort(key=lambda pair: pair[0].changed or datetime.min.replace(tzinfo=UTC))
        answered = [(run, each) for run, each in own if each.answered is not None]
        faulty = [(run, each) for run, each in own if each.last_fault is not None]
        failing = [_failing(run, each) for run, each in own if each.is_failing and not run.over]
        return cls(
            rounds=sum(each.rounds for _, each in own),
            faults=sum(each.faults for _, each in own),
            answered=max((each.answered for _, each in answered if each.answered), default=None),
            code_version=answered[-1][0].code_version if answered else None,
            last_fault=f"{faulty[-1][1].last_fault} in {faulty[-1][0].name}" if faulty else None,
            failing=failing[-1] if failing else None,
        )


def _failing(run: RunFacts, site: SiteInRun) -> str:
    if site.state == NOT_APPROVED:
        return f"has not approved the plan of {run.name}; a person there reads it, and runs `gliofed-client approve`"
    return f"answers {site.state} in {run.name}; ask the site what its log says"


def _health(revoked: str | None, ending: Ending | None, seen: NodeSeen | None, past: _Past) -> tuple[Health, str]:
    """Return the gravest word that holds, and why."""
    if revoked is not None:
        return Health.REVOKED, revoked
    if ending is not None and ending.days <= 0:
        return Health.EXPIRED, f"the {ending.certificate}'s certificate has ended; {ending.remedy}"
    if seen is not None and seen.status != "online" and (seen.last_seen or past.answered):
        return (
            Health.SILENT,
            "the SuperLink has missed two heartbeats of it; look at the site's service and network",
        )
    if past.failing is not None:
        return Health.FAILING, past.failing
    if ending is not None and ending.days < EXPIRES_SOON_DAYS:
        return (
            Health.EXPIRING,
            f"the {ending.certificate}'s certificate ends in {ending.days:.0f} days; {ending.remedy}",
        )
    if seen is not None and seen.status != "online":
        return Health.NEW, "was admitted and has never connected; the site has to run `gliofed-client serve`"
    if seen is None:
        return Health.UNKNOWN, "no SuperLink could be asked; start `gliofed-server serve`"
    return Health.OK, ""
