"""Writes the dashboards of both roles: `python deploy/grafana/dashboards.py`, after a change of this file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24
HEIGHTS = {"stat": 4, "timeseries": 8, "table": 8}
GOOD, WARN, BAD = "green", "orange", "red"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: over it.
        queries: PromQL → what a series is called, by its labels.
        kind: `stat` (the last value), `timeseries`, `table`.
        unit: as Grafana calls it: `s`, `bytes`, `percentunit`, `short`, `bool_yes_no`.
        steps: (from which value on, colour); the first one's value is ignored.
        width: of 24 columns.
    """

    title: str
    queries: dict[str, str]
    kind: str = "timeseries"
    unit: str = "short"
    steps: tuple[tuple[float, str], ...] = ((0, GOOD),)
    width: int = 12


ONE_IS_GOOD = ((0, BAD), (1, GOOD))
MORE_IS_BAD = ((0, GOOD), (1, BAD))
A_DAY_S = 86_400
DAYS = ((0, BAD), (7 * A_DAY_S, WARN), (30 * A_DAY_S, GOOD))
SHARE_LEFT = ((0, BAD), (0.1, WARN), (0.2, GOOD))

COORDINATOR = (
    Panel("Health", {"gliofed_server_healthy": "{{check}}"}, "stat", "bool_yes_no", ONE_IS_GOOD, 6),
    Panel(
        "Sites online",
        {"sum(gliofed_server_site_online)": "online", "count(gliofed_server_site_online)": "admitted"},
        "stat",
        width=6,
    ),
    Panel("Certificates", {"gliofed_server_certificate_left_seconds": "{{certificate}}"}, "stat", "s", DAYS, 6),
    Panel(
        "Disk free",
        {"gliofed_server_disk_free_bytes / gliofed_server_disk_size_bytes": "free"},
        "stat",
        "percentunit",
        SHARE_LEFT,
        6,
    ),
    Panel("Runs", {"sum by (state) (gliofed_server_run_state)": "{{state}}"}, "stat", width=12),
    Panel("State of the run", {'gliofed_server_run_state{run=~"$run"} == 1': "{{run}}: {{state}}"}, "stat", width=12),
    Panel("Sites", {"gliofed_server_site_online": "{{site}}"}, unit="bool_yes_no", steps=ONE_IS_GOOD),
    Panel("Since a site was heard", {"gliofed_server_site_seen_age_seconds": "{{site}}"}, unit="s"),
    Panel(
        "Open round: age and deadline",
        {
            'gliofed_server_open_round_age_seconds{run=~"$run"}': "{{run}} {{stage}}: age",
            'gliofed_server_open_round_deadline_seconds{run=~"$run"}': "{{run}} {{stage}}: deadline",
        },
        unit="s",
    ),
    Panel(
        "Open round: number and updates",
        {
            'gliofed_server_open_round_number{run=~"$run"}': "{{run}} {{stage}}: round",
            'gliofed_server_open_round_updates{run=~"$run"}': "{{run}} {{stage}}: updates",
        },
    ),
    Panel(
        "Rounds that count",
        {
            'gliofed_server_rounds_done{run=~"$run"}': "{{run}} {{stage}}",
            'gliofed_server_rounds_planned{run=~"$run"}': "{{run}} {{stage}}: planned",
        },
    ),
    Panel("Seconds a round", {'gliofed_server_round_seconds{run=~"$run"}': "{{run}} {{stage}}"}, unit="s"),
    Panel("From task to answer", {'gliofed_server_answer_seconds{run=~"$run"}': "{{site}}"}, unit="s"),
    Panel(
        "Bytes to and from a site",
        {'sum by (site, direction) (gliofed_server_bytes_total{run=~"$run"})': "{{site}} {{direction}}"},
        unit="bytes",
    ),
    Panel("Updates accepted", {'sum by (site) (gliofed_server_updates_accepted_total{run=~"$run"})': "{{site}}"}),
    Panel(
        "Updates refused",
        {'sum by (site) (gliofed_server_updates_refused_total{run=~"$run"})': "{{site}}"},
        steps=MORE_IS_BAD,
    ),
    Panel(
        "Faults within an hour",
        {'sum by (site) (increase(gliofed_server_faults_total{run=~"$run"}[1h]))': "{{site}}"},
        steps=MORE_IS_BAD,
    ),
    Panel("Faults by code", {'gliofed_server_fault_codes_total{run=~"$run"}': ""}, "table"),
    Panel(
        "Alarms",
        {'sum by (site, kind) (gliofed_server_alarms_total{run=~"$run"}) > 0': "{{site}} {{kind}}"},
        steps=MORE_IS_BAD,
    ),
    Panel("Withdrawn sites", {'gliofed_server_site_withdrawn{run=~"$run"} == 1': "{{run}} {{site}}"}, "stat"),
    Panel("Size of the journals", {"gliofed_server_journal_bytes": "{{run}}"}, unit="bytes"),
    Panel(
        "Parts that could be read",
        {'gliofed_part_read{job="gliofed-server"}': "{{part}}"},
        unit="bool_yes_no",
        steps=ONE_IS_GOOD,
    ),
    Panel("Version", {"gliofed_server_build_info": "{{version}}"}, "stat", width=6),
)

SITE = (
    Panel("Health", {"gliofed_client_healthy": "{{check}}"}, "stat", "bool_yes_no", ONE_IS_GOOD, 6),
    Panel(
        "Since the server was reached",
        {"gliofed_client_server_reached_age_seconds": "ago"},
        "stat",
        "s",
        ((0, GOOD), (60, BAD)),
        6,
    ),
    Panel("Certificates", {"gliofed_client_certificate_left_seconds": "{{certificate}}"}, "stat", "s", DAYS, 6),
    Panel(
        "Disk free",
        {"gliofed_client_disk_free_bytes / gliofed_client_disk_size_bytes": "free"},
        "stat",
        "percentunit",
        SHARE_LEFT,
        6,
    ),
    Panel("Study plans", {"gliofed_client_plans": "{{state}}"}, "stat", width=6),
    Panel(
        "Privacy budget spent",
        {"gliofed_client_epsilon_spent_ratio": "spent"},
        "stat",
        "percentunit",
        ((0, GOOD), (0.9, BAD)),
        6,
    ),
    Panel("Patients", {"gliofed_client_patients": "patients"}, "stat", width=6),
    Panel(
        "Clock ahead of the server's",
        {"gliofed_client_clock_ahead_seconds": "ahead"},
        "stat",
        "s",
        ((0, BAD), (-240, GOOD), (4, BAD)),
        6,
    ),
    Panel(
        "Reaching the server",
        {
            "gliofed_client_server_reached_age_seconds": "since",
            "2 * gliofed_client_heartbeat_seconds": "two heartbeats",
        },
        unit="s",
    ),
    Panel("Cases by sequence", {"gliofed_client_cases": "{{sequence}}"}),
    Panel("Last round trained", {"gliofed_client_last_round_number": "{{stage}} of {{run}}"}),
    Panel("Since it was trained", {"gliofed_client_last_round_age_seconds": "{{stage}} of {{run}}"}, unit="s"),
    Panel("Sent, by the audit log", {"gliofed_client_sent_bytes_total": "bytes"}, unit="bytes"),
    Panel("Messages within an hour", {"increase(gliofed_client_sent_messages_total[1h])": "messages"}),
    Panel("Epsilon spent", {"gliofed_client_epsilon_spent": "epsilon"}),
    Panel(
        "GPU memory",
        {
            "gliofed_client_gpu_memory_used_bytes": "GPU {{gpu}}: used",
            "gliofed_client_gpu_memory_size_bytes": "GPU {{gpu}}: size",
        },
        unit="bytes",
    ),
    Panel(
        "Parts that could be read",
        {'gliofed_part_read{job="gliofed-client"}': "{{part}}"},
        unit="bool_yes_no",
        steps=ONE_IS_GOOD,
    ),
    Panel("Version", {"gliofed_client_build_info": "{{version}}"}, "stat", width=6),
)

SOURCE_CHOICE = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
RUN_CHOICE = {
    "name": "run",
    "label": "Run",
    "type": "query",
    "datasource": SOURCE,
    "query": "label_values(gliofed_server_run_state, run)",
    "refresh": 2,
    "includeAll": True,
    "allValue": ".*",
    "multi": True,
    "current": {"text": "All", "value": "$__all"},
}


def dashboard(uid: str, title: str, panels: tuple[Panel, ...], choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it, its panels in rows from left to right."""
    placed, across, down, tall = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if across + panel.width > WIDTH:
            across, down, tall = 0, down + tall, 0
        height = HEIGHTS[panel.kind]
        placed.append(_panel(number, panel, {"x": across, "y": down, "w": panel.width, "h": height}))
        across, tall = across + panel.width, max(tall, height)
    return {
        "uid": uid,
        "title": title,
        "tags": ["gliofed"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": choices},
        "panels": placed,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps = [
        {"value": None if first == 0 else value, "color": colour} for first, (value, colour) in enumerate(panel.steps)
    ]
    return {
        "id": number,
        "title": panel.title,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind != "timeseries",
                "range": panel.kind == "timeseries",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for index, (query, legend) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"textMode": "value_and_name"} if panel.kind == "stat" else {},
    }


def dashboards() -> dict[str, dict[str, Any]]:
    """Return both, by file name."""
    return {
        "coordinator.json": dashboard(
            "gliofed-coordinator", "GlioFed: coordinator", COORDINATOR, [SOURCE_CHOICE, RUN_CHOICE]
        ),
        "site.json": dashboard("gliofed-site", "GlioFed: site", SITE, [SOURCE_CHOICE]),
    }


def text_of(tree: dict[str, Any]) -> str:
    """Return a dashboard as it stands in its file."""
    return json.dumps(tree, indent=1) + "\n"


if __name__ == "__main__":
    for name, tree in dashboards().items():
        (FOLDER / name).write_text(text_of(tree), encoding="utf-8")
