"""How GlioFed is installed here: versions, ports, service, the clock that the policy goes by."""

from __future__ import annotations

import locale
import platform
import socket
import sys
from datetime import timedelta
from importlib import metadata

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.surroundings import Surroundings
from common.console import count
from common.errors import GliofedError, StudyError
from common.study import code_version

FLOWER, TORCH, PYTHON = "1.41.", "2.13.", (3, 11)
UNIT = "gliofed-client.service"
UNIT_FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
UTC_NAMES = ("UTC", "UCT", "Universal")
LOOPBACK = "127.0.0.1"


def ports(around: Surroundings) -> Finding:
    """Whether the ports of the site's own figures and health are free, or taken by this site itself."""
    monitoring = around.config.monitoring
    wanted = {"metrics": monitoring.metrics_port, "health": monitoring.health_port}
    taken = {name: number for name, number in wanted.items() if number and _is_taken(number)}
    strangers = {name: number for name, number in taken.items() if not _is_ours(name, number, around.patience_s)}
    if strangers:
        what = ", ".join(f"port {number} for {name} is taken by another program" for name, number in strangers.items())
        return failed("port-taken", what, "choose others in [monitoring] of site.toml", taken=len(strangers))
    if taken:
        return passed(f"ports {', '.join(map(str, taken.values()))} are this site's own: it serves", ours=len(taken))
    return passed(f"ports {', '.join(map(str, wanted.values()))} are free")


def _is_taken(number: int) -> bool:
    try:
        socket.create_server((LOOPBACK, number)).close()
    except OSError:
        return True
    return False


def _is_ours(name: str, number: int, patience_s: float) -> bool:
    """Ask the program that listens there whether it is this one."""
    if name == "health":
        from common.health_probe import probe

        return probe(f"{LOOPBACK}:{number}", "supernode", patience_s=patience_s) in ("SERVING", "NOT_SERVING")
    import httpx

    try:
        text = httpx.get(f"http://{LOOPBACK}:{number}/metrics", timeout=patience_s, trust_env=False).text
    except httpx.HTTPError:
        return False
    return "gliofed_" in text


def versions(around: Surroundings) -> Finding:
    """Whether Python, Flower and PyTorch are those that GlioFed is made for."""
    found = {name: _version(around, name) for name in ("flwr", "torch")}
    wrong = [
        f"{name} {found[name] or 'is missing'}, expected {pin}*"
        for name, pin in (("flwr", FLOWER), ("torch", TORCH))
        if not (found[name] or "").startswith(pin)
    ]
    if sys.version_info[:2] < PYTHON:
        wrong.append(f"Python {platform.python_version()}, expected {PYTHON[0]}.{PYTHON[1]} or newer")
    if wrong:
        return failed(
            "versions", "; ".join(wrong), "install GlioFed anew, in an environment of its own", wrong=len(wrong)
        )
    return passed(f"Python {platform.python_version()}, flwr {found['flwr']}, torch {found['torch']}")


def _version(around: Surroundings, package: str) -> str | None:
    try:
        return around.version(package)
    except metadata.PackageNotFoundError:
        return None


def code(around: Surroundings) -> Finding:
    """Whether the plans that the site knows, before the first of them its kit, are for the code that is installed."""
    from client.consent.approvals import approved

    plans = {plan.digest: plan for plan in (*approved(around.config.workdir), *([around.plan] if around.plan else []))}
    if not plans:
        return _code_of_kit(around)
    other = [plan for plan in plans.values() if plan.code_version != code_version()]
    if other:
        named = ", ".join(sorted({plan.code_version for plan in other}))
        what = f"installed is {code_version()}, but {len(other)} of {len(plans)} plans are for {named}"
        if around.plan in other:
            return failed("other-code", what, "install the version that the plan names", plans=len(other))
        return warned("other-code", what, "revoke old plans, or install the version that they name", plans=len(other))
    return passed(f"installed is {code_version()}, as in {count(len(plans), 'plan')} known here", plans=len(plans))


def _code_of_kit(around: Surroundings) -> Finding:
    """Compare with the coordinator's code when the kit was made, which is all that a site knows before a plan."""
    wanted = around.card.code_version
    if wanted is None:
        raise NotCheckedError("neither a plan nor the kit says which version is wanted")
    if wanted != code_version():
        what = f"installed is {code_version()}, the coordinator's when it made the kit was {wanted}"
        remedy = f"install {wanted}, unless the coordinator, whom you ask, has another by now"
        return warned("other-code", what, remedy)
    return passed(f"installed is {code_version()}, as at the coordinator when it made the kit")


def service(around: Surroundings) -> Finding:
    """Whether the site is served again after the machine starts anew, where systemd rules it."""
    if not (around.root / "run/systemd/system").is_dir():
        return passed("systemd does not rule this machine or container; whoever started it starts it again")
    installed = [folder for folder in UNIT_FOLDERS if (around.root / folder / UNIT).exists()]
    if not installed:
        return warned("no-unit", f"{UNIT} is not installed", "copy deploy/systemd/gliofed-client.service and enable it")
    links = around.root.glob(f"etc/systemd/system/*.wants/{UNIT}")
    if not any(each.is_symlink() or each.exists() for each in links):
        return warned("unit-off", f"{UNIT} is not enabled", f"systemctl enable --now {UNIT}")
    return passed(f"{UNIT} is installed and enabled")


def time_zone(around: Surroundings) -> Finding:
    """Whether the hours of the policy mean what they say, and names can be read."""
    now, policy = around.now(), around.config.policy
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8":
        return warned("encoding", "the locale is not UTF-8, so file names may be misread", "set LANG=C.UTF-8")
    if policy.hours is None:
        return passed("the policy names no hours")
    if now.tzname() in UTC_NAMES:  # London's offset is 0 as well, in winter
        what = f"policy.hours is {policy.hours} by the machine's clock, whose zone is UTC"
        return warned("utc", what, "set TZ for the client, such as TZ=Europe/Berlin, unless UTC is meant")
    state = "open" if policy.is_open(now.time()) else "closed"
    offset_h = (now.utcoffset() or timedelta()).total_seconds() / 3600
    return passed(f"policy.hours is {policy.hours}, it is {now:%H:%M %Z}: {state}", offset_h=offset_h)


TOPIC = Topic(
    "installation",
    (
        Check("versions", "Python, Flower and PyTorch are those that GlioFed is made for", versions, StudyError),
        Check("code", "the plans known here, else the kit, are for the installed code", code, StudyError),
        Check("ports", "the ports of figures and health are free, or this site's own", ports, StudyError),
        Check("service", "the systemd unit is installed and enabled, where systemd rules", service, GliofedError),
        Check("time-zone", "UTF-8, and policy.hours in a zone that is meant", time_zone, GliofedError),
    ),
)
