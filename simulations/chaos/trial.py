"""One long run over a real deployment, in the middle of which faults strike one after another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import FederationError
from simulations.deployment.deployment import Deployment
from simulations.deployment.driver import Driver
from simulations.deployment.small_disk import SmallDisk

LOOK_EVERY_S = 0.2
STRUCK = "hospital-b"
"""The site that faults of sites strike."""


@dataclass(frozen=True)
class FaultRow:
    """A fault, and what became of the run.

    Attributes:
        fault: its name.
        done: what was done, in words.
        lost: rounds that had counted before the fault, and no longer did or with other bytes after it.
        ended: how the run ended, for the fault that it ended with; else which round counted next.
        seconds: from the fault until the round that it struck counted.
        restarts: how often the supervisors started something again in that time, Flower's runs included.
    """

    fault: str
    done: str
    lost: int
    ended: str
    seconds: float
    restarts: int


@dataclass(frozen=True)
class Trial:
    """What a fault can lay its hands on: the deployment, the run's driver, and the coordinator's disk."""

    deployment: Deployment
    driver: Driver
    disk: SmallDisk

    def counted(self) -> dict[str, str]:
        """Return the digest of every round that counts, by `<stage>/<number>`."""
        found = {}
        for path in (self.driver.out / "rounds").glob("*/*/round.json"):
            found["/".join(path.parts[-3:-1])] = json.loads(path.read_text())["global_sha256"]
        return found

    def wait_until(self, what: str, holds: Callable[[], bool], patience_s: float = 300.0) -> None:
        """Wait until something holds. Raises FederationError where it does not in time."""
        until = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > until:
                raise FederationError(f"after {patience_s:g} s still not: {what}")
            time.sleep(LOOK_EVERY_S)

    def wait_for_training(self, site: str) -> None:
        """Wait until a ClientApp works at `site`."""
        self.wait_until(f"a ClientApp works at {site}", lambda: bool(self.deployment.client_apps(site)))

    @property
    def restarts(self) -> int:
        """How often anything was started again so far."""
        return sum(self.deployment.supervisor.restarts.values()) + max(0, self.driver.submissions - 1)

    def strike(self, name: str, inflict: Callable[[Trial], str], patience_s: float = 420.0) -> FaultRow:
        """Inflict a fault in mid-round, and wait until that round counts."""
        self.wait_until("the plan is frozen", (self.driver.out / "plan.json").is_file)
        self.wait_for_training(STRUCK)
        before, restarts, began = self.counted(), self.restarts, time.monotonic()
        done = inflict(self)
        self.wait_until("the next round counts", lambda: len(self.counted()) > len(before), patience_s)
        seconds, after = time.monotonic() - began, self.counted()
        lost = sum(after.get(key) != digest for key, digest in before.items())
        new = ", ".join(sorted(set(after) - set(before)))
        return FaultRow(name, done, lost, f"{new} counts", round(seconds, 1), self.restarts - restarts)
