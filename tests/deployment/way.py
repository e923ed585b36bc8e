"""A consortium from empty folders to a signed release, by the how-to pages' own commands, on the loopback address."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from common.processes.ports import free_port, listens
from common.processes.program import Program
from simulations.phantom.cohort import write_cohort
from simulations.scenario import load_scenario
from tests.deployment.pages import commands
from tests.deployment.recorder import HOST, Recorder
from tests.deployment.walk import PAGES_RUN, PAGES_SITE, SERVER, Party, environment, wait_until

SPACING_MM = 4.0
SEED = 11


class Way:
    """Within its `with` a server, nginx and the hospitals run, all admitted, nothing approved.

    Args:
        folder: takes everything.
        study: text of the study.toml.
        sites: the hospitals, the pages' own first.
        patients: phantoms a hospital.
        proxies: site → URL of the proxy that it goes through.

    Attributes:
        server, hospitals: those who type.
        recorder: has what the hospitals pushed.
        metrics: site → port of its figures for Prometheus.
        stack: ends what was started.
    """

    def __init__(
        self, folder: Path, study: str, sites: tuple[str, ...], patients: int, proxies: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.sites, self.port = folder, sites, free_port()
        self.proxies = proxies or {}
        self.metrics: dict[str, int] = {}
        self.name = re.search(r'^name = "(.*)"', study, re.MULTILINE)[1]  # type: ignore[index]
        self.server = Party(make(folder / "server"), {SERVER: "localhost", PAGES_RUN: self.name})
        (self.server.folder / "study.toml").write_text(study)
        scans = write_cohort(folder / "phantom", load_scenario("three-hospitals"), patients, SEED, SPACING_MM).sites
        self.hospitals = {
            site: Party(make(folder / site), {PAGES_SITE: site, "/data/scans": str(scans / site)}) for site in sites
        }
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._begin(stack)
            self._admit()
            self._join()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    # ---- the coordinator's first steps

    def _begin(self, stack: ExitStack) -> None:
        init, bundle, nginx, serve = page_lines("consortium.md", "init", "bundle", "nginx", "serve")
        self.fingerprint = fingerprint_in(self.server.type(init, more=f"--port {self.port}"))
        self._edit_ports()
        self.server.type(bundle)
        self.server.type(nginx)
        self.serving = start(stack, self.server, serve)
        wait_until(lambda: listens(self.fleet_port), "the SuperLink listens")
        tls = self.server.folder / "consortium" / "tls"
        self.recorder = stack.enter_context(
            Recorder(self.fleet_port, tls / "loopback.crt", tls / "loopback.key", tls / "ca.crt")
        )
        self._start_nginx(stack)

    def _edit_ports(self) -> None:
        """Edit what a coordinator edits where ports are taken; here they are all taken by other tests."""
        self.fleet_port = free_port()
        path = self.server.folder / "consortium" / "consortium.toml"
        text = re.sub(r"^fleet_port = \d+", f"fleet_port = {self.fleet_port}", path.read_text(), flags=re.MULTILINE)
        for name in ("hub", "metrics", "health", "console", "mlflow"):
            text = re.sub(rf"^{name} = \d+", f"{name} = {free_port()}", text, flags=re.MULTILINE)
        path.write_text(text)

    def _start_nginx(self, stack: ExitStack) -> None:
        """Start nginx with what was printed, included as Debian's nginx includes it; the recorder lies in its way."""
        folder = make(self.server.folder / "nginx")
        site = (self.server.folder / "gliofed.nginx.conf").read_text()
        assert f":{self.fleet_port};" in site
        (folder / "site.conf").write_text(site.replace(f":{self.fleet_port};", f":{self.recorder.port};"))
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
            f"http {{ access_log {folder}/access.log; {temporary}\ninclude {folder}/site.conf; }}\n"
        )
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program is not None, "nginx is not installed: make system"
        nginx = Program("nginx", [program, "-c", str(folder / "nginx.conf")], environment(), folder, folder / "log")
        nginx.start()
        stack.callback(nginx.end)
        wait_until(lambda: listens(self.port), "nginx listens")

    # ---- the hospitals' first steps

    def _admit(self) -> None:
        (init,), (admit,) = page_lines("join.md", "init"), page_lines("consortium.md", "admit")
        for site, hospital in self.hospitals.items():
            fingerprint = fingerprint_in(hospital.type(init))
            self._edit_site(site)
            shutil.copy(hospital.folder / "gliofed" / "request.json", self.server.folder / "request.json")
            self.server.type(admit, answer=fingerprint)

    def _edit_site(self, site: str) -> None:
        """Make the edits of the page: policy, proxy; and the ports, for the hospitals share this machine."""
        path = self.hospitals[site].folder / "gliofed" / "site.toml"
        text = path.read_text().replace("minimum_patients = 5", "minimum_patients = 1")
        if site in self.proxies:
            text = text.replace("[connection]", f'[connection]\nproxy = "{self.proxies[site]}"')
        self.metrics[site] = free_port()
        path.write_text(f"{text}\n[monitoring]\nmetrics_port = {self.metrics[site]}\nhealth_port = {free_port()}\n")

    def _join(self) -> None:
        (join,) = page_lines("join.md", "join")
        for site, hospital in self.hospitals.items():
            kit = self.server.folder / "consortium" / "kits" / f"{site}.zip"
            shutil.copy(kit, hospital.folder / kit.name)
            hospital.type(join, answer=self.fingerprint)

    # ---- the way to a release

    def serve(self) -> None:
        """Let the hospitals serve, and wait until the coordinator sees them all."""
        (serve,), (sites,) = page_lines("join.md", "serve"), page_lines("consortium.md", "sites")
        for hospital in self.hospitals.values():
            start(self.stack, hospital, serve)

        def online() -> bool:
            return all(site["online"] for site in self.server.ask(sites))

        wait_until(online, "all hospitals are online")

    def plan(self) -> str:
        """Plan the study, hand the plan to the hospitals, and return its digest."""
        check, plan = page_lines("consortium.md", "check", "plan")
        self.server.type(check)
        self.server.type(plan)
        written = self.server.folder / "consortium" / "runs" / self.name / "study-plan.json"
        for hospital in self.hospitals.values():
            shutil.copy(written, hospital.folder / "plan.json")
        names = {path.stem for path in (self.server.folder / "consortium" / "plans").glob("*.json")}
        return next(name for name in sorted(names) if (self._plan_file(name)).read_bytes() == written.read_bytes())

    def _plan_file(self, digest: str) -> Path:
        return self.server.folder / "consortium" / "plans" / f"{digest}.json"

    def approve(self) -> None:
        """Let a person at each hospital read the plan and approve it."""
        show, approve = page_lines("join.md", "show", "approve")
        for hospital in self.hospitals.values():
            assert "SHA256:" in hospital.type(show)
            hospital.type(approve, answer=self.name)

    def run(self, exit_code: int = 0) -> Path:
        """Run the study until it ends, and return the run's folder."""
        run, watch = page_lines("consortium.md", "run", "watch")
        self.server.type(run)
        self.server.type(watch, exit_code=exit_code)
        return self.server.folder / "consortium" / "runs" / self.name

    def reader(self, site: str, **words: str) -> Party:
        """Return a person at a hospital who reads the page for sites, in whose lines site.toml lies in the folder."""
        hospital = self.hospitals[site]
        return Party(hospital.folder / "gliofed", {READ_AS[key]: word for key, word in words.items()}, hospital.typed)

    @property
    def typed(self) -> set[str]:
        """All lines of the pages that were run."""
        return {line for party in (self.server, *self.hospitals.values()) for line in party.typed}


READ_AS = {"plan": "4f1d2c03", "run": "0123456789abcdef", "patient": "patient-7"}
"""What the page for sites calls a plan, a run and a patient."""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def page_lines(page: str, *verbs: str) -> tuple[str, ...]:
    """Return the first line of a page for each verb, such as `admit`."""
    listed = commands(page)
    return tuple(next(line for line in listed if line.split()[1] == verb) for verb in verbs)


def start(stack: ExitStack, party: Party, line: str) -> Program:
    """Start a line that runs until the stack is closed."""
    program = party.start(line)
    stack.callback(program.end, grace_s=20.0)
    return program


def make(folder: Path) -> Path:
    """Create a folder and return it."""
    folder.mkdir(parents=True)
    return folder


def fingerprint_in(said: str) -> str:
    """Return the fingerprint that a command prints to be read over the telephone."""
    found = re.findall(r"SHA256:[A-Za-z0-9+/]{43}", said)
    assert found, said
    return str(found[-1])


def audited(hospital: Party) -> list[dict[str, Any]]:
    """Return the entries of a hospital's audit log, exported by the page's command."""
    (export,) = [line for line in commands("what-leaves.md") if " export " in line]
    hospital.type(export)
    return list(json.loads((hospital.folder / "sent.json").read_text()))


__all__ = ["HOST", "Way", "audited", "fingerprint_in", "page_lines", "start"]
