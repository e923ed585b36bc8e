"""Where a site stands: its key, the kit it joined with, the days that certificates have left, plans approved."""

from __future__ import annotations

from dataclasses import dataclass

from client.enrolment.folder import SiteFolder
from client.enrolment.joining import installed_card
from client.enrolment.server_certificate import certificate_days, inspected_by
from common.identity.site_key import load_site_key
from common.roster_file import load_roster
from common.study import code_version


@dataclass(frozen=True)
class SiteStatus:
    """What a site's administrator wants to know first.

    Attributes:
        fingerprint: of the key in use; what is read to the coordinator.
        next_fingerprint: of a key that waits for a kit, None where none does.
        code_version: the GlioFed installed here.
        consortium: its name, None before the site has joined.
        address: the server's host and port.
        kit_issued: when the kit was made, ISO 8601.
        sites: all sites on this site's copy of the roster.
        authority_days: days until the authority's certificate ends.
        server_days: days until the server's certificate, as last seen, ends; None where it was not seen.
        inspected_by: whose certificate was shown in its place, where something opens TLS on the way.
        approved_plans: study plans that a person here approved.
    """

    name: str
    fingerprint: str
    next_fingerprint: str | None
    code_version: str
    consortium: str | None
    address: str | None
    kit_issued: str | None
    sites: tuple[str, ...]
    authority_days: float | None
    server_days: float | None
    inspected_by: str | None
    approved_plans: int


def status_of(site: SiteFolder) -> SiteStatus:
    """Read a site's status from its folder. Raises StudyError where what is there cannot be read."""
    card, days = installed_card(site), certificate_days(site)
    return SiteStatus(
        name=site.config.name,
        fingerprint=load_site_key(site.key).public.fingerprint,
        next_fingerprint=load_site_key(site.next_key).public.fingerprint if site.next_key.exists() else None,
        code_version=code_version(),
        consortium=card.name if card else None,
        address=card.address if card else None,
        kit_issued=card.issued.isoformat(timespec="seconds") if card else None,
        sites=tuple(sorted(load_roster(site.roster).sites)) if card else (),
        authority_days=days["authority"],
        server_days=days["server"],
        inspected_by=inspected_by(site),
        approved_plans=sum(1 for _ in site.approvals.glob("*.json")),
    )
