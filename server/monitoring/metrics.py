"""The figures of a coordinator; docs/reference/metrics.md lists the same."""

from __future__ import annotations

from common.monitoring.metric import Metric

BUILD = Metric("gliofed_server_build_info", "Always 1; says which version runs.", ("version",))
HEALTHY = Metric("gliofed_server_healthy", "1 where the check is well, as gRPC health has it, else 0.", ("check",))

SITE_ONLINE = Metric("gliofed_server_site_online", "1 where the SuperLink hears the site's node, else 0.", ("site",))
SITE_SEEN_AGE = Metric(
    "gliofed_server_site_seen_age_seconds",
    "Since the SuperLink last heard the site; absent where it never did.",
    ("site",),
)
CERTIFICATE = Metric(
    "gliofed_server_certificate_left_seconds",
    "Until a certificate ends: the authority's, the server's.",
    ("certificate",),
)

RUN_STATE = Metric("gliofed_server_run_state", "1 for the state that a run is in, 0 for the others.", ("run", "state"))
ROUNDS_DONE = Metric("gliofed_server_rounds_done", "Rounds of a stage that count.", ("run", "stage"))
ROUNDS_PLANNED = Metric("gliofed_server_rounds_planned", "Rounds that the study asks for.", ("run", "stage"))
ROUND_SECONDS = Metric("gliofed_server_round_seconds", "How long the last round that counts took.", ("run", "stage"))
OPEN_ROUND = Metric("gliofed_server_open_round_number", "The round that is being played.", ("run", "stage"))
OPEN_AGE = Metric(
    "gliofed_server_open_round_age_seconds", "Since that round could begin; pauses left out.", ("run", "stage")
)
OPEN_DEADLINE = Metric(
    "gliofed_server_open_round_deadline_seconds", "The stage's deadline for a round.", ("run", "stage")
)
OPEN_UPDATES = Metric("gliofed_server_open_round_updates", "Updates accepted in that round so far.", ("run", "stage"))

ACCEPTED = Metric("gliofed_server_updates_accepted_total", "A site's updates in rounds that count.", ("run", "site"))
REFUSED = Metric("gliofed_server_updates_refused_total", "A site's updates that the gate refused.", ("run", "site"))
FAULTS = Metric(
    "gliofed_server_faults_total",
    "How often a site was asked and did not contribute, refused updates too.",
    ("run", "site"),
)
FAULT_CODES = Metric(
    "gliofed_server_fault_codes_total",
    "The same by code and stage (`inventory` before the first).",
    ("run", "site", "stage", "code"),
)
ALARMS = Metric(
    "gliofed_server_alarms_total", "Alarms of a site's figures, in rounds that count.", ("run", "site", "kind")
)
BYTES = Metric(
    "gliofed_server_bytes_total",
    "Exchanged with a site in rounds that count: `down` to it, `up` from it.",
    ("run", "site", "direction"),
)
ANSWER_SECONDS = Metric(
    "gliofed_server_answer_seconds",
    "From task to answer, in the last round that counts and that the site answered.",
    ("run", "site"),
)
SITE_WITHDRAWN = Metric(
    "gliofed_server_site_withdrawn", "1 where a site was withdrawn from a run, else 0.", ("run", "site")
)

JOURNAL_BYTES = Metric(
    "gliofed_server_journal_bytes", "Size of a run's journal, updates that wait in it too.", ("run",)
)
DISK_FREE = Metric("gliofed_server_disk_free_bytes", "Free on the disk of the consortium's folder.")
DISK_TOTAL = Metric("gliofed_server_disk_size_bytes", "Size of that disk.")

METRICS = tuple(value for value in dict(vars()).values() if isinstance(value, Metric))
"""All of them."""
