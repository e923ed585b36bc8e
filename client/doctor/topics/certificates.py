"""Whose certificate is shown in the server's name, and how long it and its authority last; part of `network`."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from client.doctor.check import Check
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.surroundings import Surroundings
from common.errors import FederationError
from common.identity.certificates import A_DAY, issuer_of, load_certificates

SOON_DAYS = 30


def tls(around: Surroundings) -> Finding:
    """Whether the certificate that is shown is the consortium's, or an inspecting proxy's that site.toml allows."""
    seen = around.look
    by = "nobody" if seen.certificate is None else issuer_of(seen.certificate)
    match seen.problem:
        case "roots":
            return failed("roots", f"no authority to trust: {seen.said}", "correct connection.extra_ca in site.toml")
        case "expired":
            remedy = "ask the coordinator to run `gliofed-server renew`; where this machine's date is wrong, correct it"
            return failed("expired", "the certificate that the server shows has expired", remedy)
        case "untrusted" if seen.certificate is not None and not seen.from_kit:
            what = f"a certificate by {by!r} is shown in the server's place: something on the way opens TLS"
            remedy = (
                "ask the network's team to leave this connection closed; or name the file of that authority as "
                "connection.extra_ca in site.toml, which lets it read what passes"
            )
            return failed("inspected", what, remedy)
        case "untrusted":
            remedy = "ask the coordinator which names the server's certificate holds, and for a new kit"
            return failed("untrusted", f"the server's certificate is not trusted ({seen.said})", remedy)
        case "":
            pass
        case _:
            raise NotCheckedError(f"there is no connection ({seen.said})")
    if seen.from_kit:
        return passed("the server shows a certificate of the consortium's authority")
    what = f"an inspecting proxy opens TLS with a certificate by {by!r}, as site.toml allows"
    remedy = "nothing, if that is meant: what is signed or masked stays safe; else take extra_ca out of site.toml"
    return warned("inspecting", what, remedy)


def server_certificate(around: Surroundings) -> Finding:
    """How long the server's certificate lasts."""
    seen = around.look
    if seen.certificate is None or (seen.problem and seen.problem != "expired"):
        raise NotCheckedError("no certificate of the server was seen")
    if not seen.from_kit:
        raise NotCheckedError("an inspecting proxy shows its own certificate in the server's place")
    renew = "ask the coordinator to run `gliofed-server renew`; nothing has to be done here"
    return _days("the server's certificate", seen.certificate, around.now(), renew)


def authority_certificate(around: Surroundings) -> Finding:
    """How long the certificate of the consortium's authority lasts."""
    _ = around.card  # without a kit there is none
    first = min(load_certificates(around.site.ca), key=lambda held: held.not_valid_after_utc)
    return _days("the authority's certificate", first, around.now(), "ask the coordinator for a kit of a new authority")


def _days(what: str, certificate: x509.Certificate, now: datetime, remedy: str) -> Finding:
    left = (certificate.not_valid_after_utc - now) / A_DAY
    if left < 0:
        return failed("expired", f"{what} ended {-left:.0f} days ago", remedy, days=round(left, 1))
    if left < SOON_DAYS:
        return warned("ends-soon", f"{what} ends in {left:.0f} days", remedy, days=round(left, 1))
    return passed(f"{what} lasts {left:.0f} days", days=round(left, 1))


CERTIFICATES = (
    Check("tls", "the certificate shown is the consortium's; who else opens TLS is named", tls, FederationError),
    Check("server-certificate", "days that the server's certificate has left", server_certificate, FederationError),
    Check("authority", "days that the authority's certificate has left", authority_certificate, FederationError),
)
