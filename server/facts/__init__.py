"""What screens show of a consortium: sites, runs, releases. Read off the disk and the SuperLink, never written.

The command line, the console and the exporter say the same because they all ask here.
"""

from server.facts.fleet import Fleet, NodeSeen, superlink_fleet, unknown_fleet
from server.facts.plain import plain
from server.facts.release_facts import ReleaseFacts, releases
from server.facts.run_facts import RunFacts, run_facts, runs
from server.facts.site_facts import Health, SiteFacts, sites

__all__ = [
    "Fleet",
    "Health",
    "NodeSeen",
    "ReleaseFacts",
    "RunFacts",
    "SiteFacts",
    "plain",
    "releases",
    "run_facts",
    "runs",
    "sites",
    "superlink_fleet",
    "unknown_fleet",
]
