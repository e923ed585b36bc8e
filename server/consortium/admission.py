"""Admitting a site: its request is read, its fingerprint confirmed by a person, its key registered and signed for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from common.errors import PolicyError, StudyError
from common.files import write_whole
from common.identity.request import Request, read_request
from common.identity.signing import SigningKey, VerifyKey
from common.roster_file import Roster, RosterSite
from server.consortium.folder import Consortium
from server.consortium.registrar import Registrar
from server.consortium.revoked import RevokedKey, add_revoked, load_revoked
from server.consortium.sealing import Sealed, admitted, change_roster, seal


@dataclass(frozen=True)
class Applicant:
    """A request that may be granted once its fingerprint is confirmed.

    Attributes:
        blob: the request as it came.
        before: the site's entry on the roster, where it has one.
    """

    request: Request
    blob: bytes
    before: RosterSite | None

    @property
    def known(self) -> bool:
        """Whether this very key is on the roster already."""
        return self.before is not None and self.before.signing_key == self.request.public_key


@dataclass(frozen=True)
class Admission:
    """A site that was admitted, its node, and what is left to sign."""

    site: str
    node: int
    sealed: Sealed


def hear(consortium: Consortium, blob: bytes, origin: str, replace_key: bool = False) -> Applicant:
    """Read a request and say whether it could be granted at all.

    Raises:
        StudyError: where it is no request, or the site has another key and `replace_key` was not said.
        PolicyError: where its key was revoked, is another site's, or did not sign the request.
    """
    request = read_request(blob, origin)
    roster = admitted(consortium)
    sites = {} if roster is None else roster.sites
    if load_revoked(consortium.revoked).holds(request.key.fingerprint):
        raise PolicyError(
            f"{request.name}: this key was revoked and never comes back; let the site make a new one "
            "(`gliofed-client request --new-key`)"
        )
    for site, entry in sites.items():
        if site != request.name and entry.signing_key == request.public_key:
            raise PolicyError(f"{request.name}: this key is {site}'s; every site needs a key of its own")
    applicant = Applicant(request, blob, sites.get(request.name))
    if applicant.before is not None and not applicant.known and not replace_key:
        raise StudyError(
            f"{request.name}: is admitted with another key; where the site itself says so, give --replace-key, which "
            "shuts the old key out for good"
        )
    return applicant


def check_fingerprint(applicant: Applicant, said: str) -> None:
    """Raise PolicyError where `said`, which the site read out, is not the fingerprint of the key in the request."""
    if not applicant.request.key.has_fingerprint(said):
        raise PolicyError(
            f"{applicant.request.name}: the key in the request has another fingerprint than the one you were told; "
            "nothing was admitted. Ask the site to read it again (`gliofed-client status`); where it differs still, "
            "somebody changed the request on its way"
        )


def admit(consortium: Consortium, applicant: Applicant, registrar: Registrar, key: SigningKey | None) -> Admission:
    """Let the applicant in; the same call again, after an interruption, goes on where it ended.

    Raises:
        FederationError: where Flower cannot be told.
    """
    name, request = applicant.request.name, applicant.request
    roster = admitted(consortium)
    sites = {} if roster is None else dict(roster.sites)
    if not applicant.known:
        node = registrar.register(name, request.key.openssh, frozenset(entry.node for entry in sites.values()))
        if applicant.before is not None:
            _write_down(consortium, name, applicant.before)
        write_whole(consortium.requests / f"{name}.json", applicant.blob)
        sites[name] = RosterSite(node=node, signing_key=request.public_key)
        change_roster(consortium, Roster(sites=sites))
    sealed = seal(consortium, key)
    cut_off(consortium, name, registrar)
    return Admission(name, sites[name].node, sealed)


def revoke(consortium: Consortium, site: str, registrar: Registrar, key: SigningKey | None) -> Sealed:
    """Take a site off the roster, and its key out for good; the same call again goes on where it ended.

    Raises:
        StudyError: where no such site was admitted.
        FederationError: where Flower cannot be told; the site is off the roster then, its connection not yet cut.
    """
    roster = admitted(consortium)
    left = {} if roster is None else {name: entry for name, entry in roster.sites.items() if name != site}
    if roster is not None and site in roster.sites:
        _write_down(consortium, site, roster.sites[site])
        (consortium.requests / f"{site}.json").unlink(missing_ok=True)
        change_roster(consortium, Roster(sites=left) if left else None)
    elif not load_revoked(consortium.revoked).nodes(site):
        raise StudyError(f"{site!r}: no admitted site; admitted are: {', '.join(sorted(left)) or 'none'}")
    sealed = seal(consortium, key) if left else Sealed(True, ())
    cut_off(consortium, site, registrar)
    return sealed


def cut_off(consortium: Consortium, site: str, registrar: Registrar) -> None:
    """Let Flower end what a site's revoked keys still have open. Raises FederationError where it cannot be told."""
    for node in load_revoked(consortium.revoked).nodes(site):
        registrar.unregister(node)


def _write_down(consortium: Consortium, site: str, entry: RosterSite) -> None:
    """Write a site's key down as revoked."""
    if entry.signing_key is not None:
        fingerprint = VerifyKey.from_pem(entry.signing_key).fingerprint
        gone = RevokedKey(site=site, node=entry.node, fingerprint=fingerprint, at=datetime.now(UTC))
        add_revoked(consortium.revoked, gone)
