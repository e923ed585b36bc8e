"""The figures of a site; docs/reference/metrics.md lists the same."""

from __future__ import annotations

from common.monitoring.metric import Metric

BUILD = Metric("gliofed_client_build_info", "Always 1; says which version runs.", ("version",))
HEALTHY = Metric("gliofed_client_healthy", "1 where the check is well, as gRPC health has it, else 0.", ("check",))

REACHED_AGE = Metric(
    "gliofed_client_server_reached_age_seconds",
    "Since the coordinator's server last answered this site over TLS; absent until it did once.",
)
HEARTBEAT = Metric("gliofed_client_heartbeat_seconds", "Pause between two tries to reach the server.")
CLOCK_AHEAD = Metric(
    "gliofed_client_clock_ahead_seconds",
    "By how much this machine's clock runs ahead of the server's, to two seconds; Flower bears -305 to 5.",
)
CERTIFICATE = Metric(
    "gliofed_client_certificate_left_seconds",
    "Until a certificate ends: the authority's in the kit, and the server's; none while a proxy shows its own.",
    ("certificate",),
)

CASES = Metric("gliofed_client_cases", "Cases of the site that hold the sequence.", ("sequence",))
PATIENTS = Metric("gliofed_client_patients", "Patients of the site.")

LAST_ROUND = Metric(
    "gliofed_client_last_round_number", "The last round of a run that this site trained.", ("run", "stage")
)
LAST_ROUND_AGE = Metric("gliofed_client_last_round_age_seconds", "Since this site trained it.", ("run", "stage"))
SENT = Metric("gliofed_client_sent_bytes_total", "Payload that left this site, by the audit log.")
MESSAGES = Metric("gliofed_client_sent_messages_total", "Messages that left this site, by the audit log.")
EPSILON = Metric(
    "gliofed_client_epsilon_spent_ratio", "Spent of the site's own privacy budget; absent without a budget."
)
EPSILON_SPENT = Metric("gliofed_client_epsilon_spent", "Epsilon spent over all studies, at the site's delta.")
PLANS = Metric("gliofed_client_plans", "Study plans at the site.", ("state",))

DISK_FREE = Metric("gliofed_client_disk_free_bytes", "Free on the disk of the site's workdir.")
DISK_TOTAL = Metric("gliofed_client_disk_size_bytes", "Size of that disk.")
GPU_USED = Metric("gliofed_client_gpu_memory_used_bytes", "Memory in use on a GPU, by whatever program.", ("gpu",))
GPU_TOTAL = Metric("gliofed_client_gpu_memory_size_bytes", "Memory of a GPU.", ("gpu",))

METRICS = tuple(value for value in dict(vars()).values() if isinstance(value, Metric))
"""All of them."""
