"""What a run says of itself: versions, rounds, what each site brought, time and memory."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import __version__
from common.errors import ReleaseError
from common.records import OK
from common.release import Release
from common.study import code_version
from server.result import RunResult
from simulations.report.course import ContractFacts, Cost, RoundFacts, StageFacts, Traffic, Versions


class Stopwatch:
    """Wall time of the named phases of a run, in the order in which they began."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the phase `name`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - start

    def cost(self, *, resumed: bool) -> Cost:
        """Return the time since the stopwatch was made and the memory that the process and its children needed."""
        mine, theirs = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        unit = 1 if platform.system() == "Darwin" else 1024
        return Cost(
            phases_s={name: round(seconds, 2) for name, seconds in self.phases.items()},
            wall_s=round(time.monotonic() - self.began, 2),
            peak_memory_bytes=mine * unit,
            peak_memory_children_bytes=theirs * unit,
            processors=os.cpu_count() or 1,
            resumed=resumed,
        )


def versions() -> Versions:
    """Return the versions of what runs."""
    return Versions(
        gliofed=__version__,
        code=code_version(),
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        flower=importlib.metadata.version("flwr"),
        platform=f"{platform.system()} {platform.machine()}",
    )


def contract_facts(result: RunResult) -> ContractFacts | None:
    """Return the participation contract of a run."""
    return None if result.contract is None else ContractFacts.model_validate(asdict(result.contract))


def stage_facts(metrics: Path, release: Release) -> tuple[StageFacts, ...]:
    """Return every stage's rounds from `metrics.jsonl`. Raises ReleaseError where it cannot be read."""
    try:
        records = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
        return tuple(
            StageFacts(
                stage=stage,
                parameters=sum(tensor.numel() for tensor in release.tensors(stage).values()),
                rounds=tuple(round_facts(record) for record in records if record["stage"] == stage.value),
            )
            for stage in release.stages
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{metrics}: cannot be used ({type(error).__name__}); run again with --resume") from None


def round_facts(record: Mapping[str, Any]) -> RoundFacts:
    """Return one line of `metrics.jsonl` as the summary tells it; a loss that is not finite is left out."""
    sites: Mapping[str, Mapping[str, Any]] = record["sites"]
    return RoundFacts(
        round=record["round"],
        seconds=record["seconds"],
        bytes_to_sites=sum(entry["bytes_down"] for entry in sites.values()),
        bytes_from_sites=sum(entry["bytes_up"] for entry in sites.values()),
        traffic={
            site: Traffic(received_bytes=entry["bytes_down"], sent_bytes=entry["bytes_up"])
            for site, entry in sites.items()
        },
        contributed=tuple(site for site, entry in sites.items() if entry["code"] == OK),
        absent={site: entry["code"] for site, entry in sites.items() if entry["code"] != OK},
        alarms={
            site: tuple(alarm["kind"] for alarm in record.get("alarms", []) if alarm["site"] == site)
            for site in sorted({alarm["site"] for alarm in record.get("alarms", [])})
        },
        losses={
            site: {name: float(value) for name, value in entry["metrics"].items() if math.isfinite(value)}
            for site, entry in sites.items()
            if "metrics" in entry
        },
    )
