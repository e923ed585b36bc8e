"""A hospital that lacks nothing, on a machine that lacks nothing; each test breaks one thing of it."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from client.consent.decisions import approve
from client.doctor.check import examine
from client.doctor.finding import Finding
from client.doctor.registry import TOPICS
from client.doctor.surroundings import Surroundings
from client.doctor.trial import Cost, Order, Trial
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import join
from common.approval.study_plan import SignedPlan, StudyPlan, read_signed_plan, write_plan
from common.identity.signing import VerifyKey
from common.roster_file import load_roster
from common.settings.stages import Stage
from common.study import Study, parse_study
from server.approval.make_plan import make_plan
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings
from tests.identity.conftest import Register, World
from tests.identity.proxies import Listener, read_head, serving
from tests.toys import build_linear

NAME, PATIENTS = "hospital-a", 6
STUDY = """
name = "gliomas"
sites = ["hospital-a"]
reference_site = "hospital-a"
sequences = ["T1", "FLAIR"]
[data]
holdout_fraction = 0.0
[stages.generator]
local_steps = 10
"""
Usage = namedtuple("Usage", "total used free")
MEMINFO = "MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\n"
LIMITS = (
    "Limit                     Soft Limit  Hard Limit  Units\nMax core file size        {}          unlimited   bytes\n"
)


@dataclass
class Gateway(Listener):
    """Answers as nginx does before a SuperLink: 404 to anything, but for the calls of sites, which need a key.

    Attributes:
        fleet, control: how it answers those calls.
        slow_s: by how much its clock is behind ours; None: it does not tell its time.
    """

    fleet: int = 401
    control: int = 404
    slow_s: float | None = 0.0

    def handle(self, connection: Any) -> None:
        head = read_head(connection)
        if not head:
            return
        line = head.splitlines()[0]
        self.seen.append(line)
        status = self.fleet if "/v1/fleet/" in line else self.control if "/v1/control/" in line else 404
        told = [] if self.slow_s is None else [f"Date: {_http_date(self.slow_s)}"]
        lines = [f"HTTP/1.1 {status} Said", *told, "Content-Length: 0", "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode())


def _http_date(slow_s: float) -> str:
    return format_datetime(datetime.now(UTC) - timedelta(seconds=slow_s), usegmt=True)


@dataclass
class Hospital:
    """A site that joined and approved, its gateway, and how its machine answers."""

    world: World
    gateway: Gateway
    root: Path
    seams: dict[str, Any] = field(default_factory=dict)

    @property
    def site(self) -> SiteFolder:
        return SiteFolder(self.world.folder / NAME / "site.toml")

    @property
    def scans(self) -> Path:
        return self.world.folder / "scans"

    @property
    def study(self) -> Study:
        return parse_study(STUDY)

    def plan(self, text: str = STUDY, **more: Any) -> SignedPlan:
        made = make_plan(text, load_roster(self.site.roster), {}, "0" * 64, date(2026, 11, 22), build_linear)
        plan = StudyPlan.model_validate(made.model_dump() | more)
        return read_signed_plan(write_plan(plan, self.world.key), self.world.key.public)

    def approve(self) -> None:
        approve(self.site.config, self.plan(), VerifyKey.load(self.site.signing_pub))

    def says(self, *lines: str) -> None:
        """Add lines to site.toml, each in the table that it names: `policy.hours = "…"`, or at the top."""
        text = self.site.toml.read_text()
        for line in lines:
            key, _, value = line.partition(" = ")
            table, _, name = key.rpartition(".")
            kept = [each for each in text.splitlines() if not each.startswith(f"{name} = ")]
            place = kept.index(f"[{table}]") + 1 if f"[{table}]" in kept else len(kept) if table else 0
            new = [f"{name} = {value}"] if f"[{table}]" in kept or not table else [f"[{table}]", f"{name} = {value}"]
            text = "\n".join([*kept[:place], *new, *kept[place:], ""])
        self.site.toml.write_text(text)

    def around(self, study: Study | None = None, **seams: Any) -> Surroundings:
        known = Surroundings(self.site, study or self.study, root=self.root, **(self.seams | seams))
        return replace(known, site=SiteFolder(self.site.toml))

    def ask(self, name: str, study: Study | None = None, **seams: Any) -> Finding:
        """Return what the check of this name finds."""
        chosen = [replace(topic, checks=tuple(each for each in topic.checks if each.name == name)) for topic in TOPICS]
        (result,) = examine(self.around(study, **seams), chosen, lambda check: None)
        return result.finding


def much_room(place: Path) -> Usage:
    return Usage(10**13, 0, 10**13)


def quick(order: Order) -> Trial:
    """A machine on which every step takes a tenth of a second."""
    cost = Cost(seconds=0.1, peak_bytes=10**9)
    return Trial(device="cpu", named="CPU", memory_bytes=64 * 10**9, costs={Stage.GENERATOR: cost})


@pytest.fixture(scope="session")
def some_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripped brains of six patients in the BraTS layout, T1 and FLAIR, greys of their own."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(1, PATIENTS + 1):
        for sequence in ("t1", "flair"):
            write_scan(folder / f"smith-{number:03}" / f"smith-{number:03}_{sequence}.nii.gz", brain(number, sequence))
    return folder


def brain(number: int, sequence: str) -> np.ndarray:
    """An ellipsoid of 1.6 litres with blobs of its own patient, the same places in both sequences."""
    draw = np.random.default_rng(number)
    points = np.stack(np.meshgrid(*(np.arange(size) - size / 2 for size in (44, 52, 44)), indexing="ij")) * 4.0
    inside = ((points / np.array([70, 85, 65])[:, None, None, None]) ** 2).sum(axis=0) < 1
    grey = 100 + 20 * np.sin(
        points / draw.uniform(8, 30, size=(3, 1, 1, 1)) + draw.uniform(0, 6, 3)[:, None, None, None]
    ).sum(axis=0)
    return np.where(inside, grey if sequence == "t1" else 250 - grey, 0).astype(np.float32)


def write_scan(path: Path, voxels: np.ndarray, describe: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, np.diag([4.0, 4.0, 4.0, 1.0]))
    image.header["descrip"] = describe
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nib.save(image, path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, some_scans: Path) -> Iterator[Hospital]:
    """The hospital that every test copies."""
    folder = tmp_path_factory.mktemp("template")
    with Gateway() as gateway:
        consortium = Consortium(folder / "consortium")
        begin_consortium(consortium, ConsortiumSettings(name="glioma-net", hosts=("localhost",), port=gateway.port))
        world = World(folder, consortium, Register())
        shutil.copytree(some_scans, folder / "scans")
        world.admit(NAME)
        place = world.site(NAME)
        join(place, world.kit(NAME))
        made = Hospital(world, gateway, machine(folder / "machine"))
        made.says("policy.epsilon_budget = 8.0")
        place.work.mkdir()
        made.approve()
        yield made


@pytest.fixture
def hospital(tmp_path: Path, template: Hospital) -> Hospital:
    before, folder = template.world.folder, tmp_path / "world"
    shutil.copytree(before, folder)
    world = World(folder, Consortium(folder / "consortium"), Register())
    gateway = template.gateway
    gateway.fleet, gateway.control, gateway.slow_s = 401, 404, 0.0
    gateway.tls = serving(world.consortium.server_certificate, world.consortium.server_key)
    seams = {"disk": much_room, "writable": lambda folder: False, "attempt": quick}
    found = Hospital(world, gateway, folder / "machine", seams)
    found.site.toml.write_text(found.site.toml.read_text().replace(str(before), str(folder)))
    return found


def machine(root: Path) -> Path:
    """The files of a system with memory enough, without swap, core dumps or systemd."""
    for name, text in {
        "proc/meminfo": MEMINFO,
        "proc/swaps": "Filename Type Size Used Priority\n",
        "proc/self/limits": LIMITS.format(0),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "dev/shm").mkdir(parents=True)
    return root
