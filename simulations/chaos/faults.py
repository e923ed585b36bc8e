"""The faults: each does its harm, heals it where a person would, and says what it did."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta

from common.errors import FederationError
from common.processes.program import Process, Program
from simulations.chaos.trial import STRUCK, Trial
from simulations.deployment.authority import HOST
from simulations.deployment.link import PERFECT, RURAL

LEASE_S = 60.0
"""How long Flower believes in a node, or a ServerApp, that it hears nothing of."""

GONE_S = LEASE_S + 20
OUTAGE_S = 150.0
SHORT_CERTIFICATE = timedelta(seconds=25)
EXPIRED_S = 30.0
FULL_S = 25.0


def kill_client_app(trial: Trial) -> str:
    """Kill the ClientApp of a site while it trains."""
    _kill_all(trial, f"a ClientApp of {STRUCK}", lambda: trial.deployment.client_apps(STRUCK))
    return f"SIGKILL of the ClientApp of {STRUCK} in mid-round"


def kill_supernode(trial: Trial) -> str:
    """Kill a SuperNode; started again within its lease it is refused with exit status 305, until the lease is over."""
    _kill(trial, trial.deployment.supernodes[STRUCK])
    return f"SIGKILL of the SuperNode of {STRUCK} in mid-round"


def kill_server_app(trial: Trial) -> str:
    """Kill the ServerApp."""
    _kill_all(trial, "a ServerApp", trial.deployment.server_apps)
    return "SIGKILL of the ServerApp in mid-round"


def kill_superexec(trial: Trial) -> str:
    """Kill the superexec; its ServerApp ends with it."""
    _kill(trial, trial.deployment.superexec)
    return "SIGKILL of the superexec in mid-round, which takes the ServerApp with it"


def kill_superlink(trial: Trial) -> str:
    """Kill the SuperLink; it is back within seconds."""
    _kill(trial, trial.deployment.superlink)
    return "SIGKILL of the SuperLink in mid-round, back after 3 s"


def lose_a_site(trial: Trial) -> str:
    """Take a site's machine away for longer than its lease."""
    with trial.deployment.supervisor.held_down([trial.deployment.supernodes[STRUCK]]):
        time.sleep(GONE_S)
    return f"{STRUCK} gone for {GONE_S:g} s, all of its processes killed"


def coordinator_outage(trial: Trial) -> str:
    """Switch the coordinator off and on again."""
    with trial.deployment.supervisor.held_down([trial.deployment.superexec, trial.deployment.superlink]):
        time.sleep(OUTAGE_S)
    return f"coordinator off for {OUTAGE_S:g} s: SuperLink, superexec and ServerApp killed"


def bad_link(trial: Trial) -> str:
    """Make a site's link slow, far and lossy until the round counts."""
    link, counted = trial.deployment.links[STRUCK], len(trial.counted())
    carried, lost = link.carried_bytes, link.lost_segments
    link.quality = RURAL
    try:
        trial.wait_until("a round counts over the bad link", lambda: len(trial.counted()) > counted)
    finally:
        link.quality = PERFECT
    carried, lost = link.carried_bytes - carried, link.lost_segments - lost
    if not (carried and lost):
        raise FederationError(f"the bad link carried {carried} bytes and lost {lost} segments: nothing felt it")
    return (
        f"link of {STRUCK} at 4 Mbit/s, 50 ms, 1 % loss for the rest of the round: {carried / 1e6:.1f} MB, "
        f"{lost} segments lost"
    )


def expired_certificate(trial: Trial) -> str:
    """Let the SuperLink's certificate run out, and renew it."""
    trial.deployment.authority.issue(SHORT_CERTIFICATE)
    _kill(trial, trial.deployment.superlink)
    trial.wait_until("the certificate is refused as expired", lambda: _expired(trial), patience_s=120.0)
    time.sleep(EXPIRED_S)
    trial.deployment.renew_certificate()
    return f"SuperLink's certificate expired for {EXPIRED_S:g} s, then renewed and the SuperLink restarted"


def full_disk(trial: Trial) -> str:
    """Fill the disk on which the coordinator keeps the run, and free it."""
    if not trial.disk.mounted:
        raise FederationError("no file system can be mounted here; run make chaos as root, or leave out full-disk")
    trial.disk.fill()
    submissions = trial.driver.submissions
    try:
        trial.wait_until("the run ends for want of space", lambda: trial.driver.submissions > submissions)
        time.sleep(FULL_S)
    finally:
        trial.disk.free()
    tries = trial.driver.submissions - submissions
    return f"the run's disk full (tmpfs, ENOSPC) until {tries} more tries had failed, then freed"


def _kill_all(trial: Trial, what: str, living: Callable[[], list[Process]]) -> None:
    """Kill what lives, as soon as anything does. Raises FederationError where nothing comes to life in time."""

    def struck() -> bool:
        found = living()
        for process in found:
            process.kill()
        return bool(found)

    trial.wait_until(f"{what} lives, to be killed", struck)


def _kill(trial: Trial, program: Program) -> None:
    """Kill a program that runs. Raises FederationError where it does not in time."""
    trial.wait_until(f"{program.name} runs, to be killed", lambda: program.alive)
    trial.deployment.supervisor.kill(program)


def _expired(trial: Trial) -> bool:
    """Return whether the SuperLink shows a certificate that has run out."""
    context = ssl.create_default_context(cafile=str(trial.deployment.authority.root))
    try:
        with (
            socket.create_connection((HOST, trial.deployment.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=HOST),
        ):
            return False
    except ssl.SSLCertVerificationError as error:
        return "expired" in error.verify_message
    except OSError:
        return False


FAULTS: dict[str, Callable[[Trial], str]] = {
    "client-app-killed": kill_client_app,
    "supernode-killed": kill_supernode,
    "server-app-killed": kill_server_app,
    "superexec-killed": kill_superexec,
    "superlink-killed": kill_superlink,
    "site-gone": lose_a_site,
    "coordinator-outage": coordinator_outage,
    "bad-link": bad_link,
    "expired-certificate": expired_certificate,
    "full-disk": full_disk,
}
