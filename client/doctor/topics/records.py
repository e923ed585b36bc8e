"""Whether what the site has written down for later can be trusted: audit log and privacy ledger."""

from __future__ import annotations

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, failed, passed
from client.doctor.surroundings import Surroundings
from common.console import count
from common.errors import GliofedError, PolicyError


def audit(around: Surroundings) -> Finding:
    """Whether every line of the audit log is as and where it was written."""
    from client.privacy.audit import AuditLog

    try:
        head = AuditLog(around.config.workdir).verify()
    except GliofedError as error:
        remedy = "restore the folder from a backup; or move it away and keep it, and a new log begins"
        return failed("audit", f"nothing may leave: {str(error).partition('. ')[0]}", remedy)
    return passed(f"the audit log is whole, {head.count} lines long", entries=head.count)


def ledger(around: Surroundings) -> Finding:
    """Whether the privacy ledger can be read."""
    from client.privacy.ledger import Ledger

    try:
        entries = Ledger(around.config.workdir).entries()
    except GliofedError as error:
        remedy = "restore it from a backup: without it nobody knows what was spent, and nothing private is trained"
        return failed("ledger", str(error).partition(". ")[0], remedy)
    return passed(f"the privacy ledger holds {count(len(entries), 'round')}", rounds=len(entries))


TOPIC = Topic(
    "records",
    (
        Check("audit-log", "the audit log verifies", audit, PolicyError),
        Check("ledger", "the privacy ledger can be read", ledger, PolicyError),
    ),
)
