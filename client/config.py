"""`site.toml`: where a hospital's scans lie, how they are named, who its patients are, and what it allows."""

from __future__ import annotations

import json
import re
from datetime import time
from fnmatch import filter as filter_names
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from common.approval.vocabulary import VOCABULARY
from common.errors import StudyError
from common.sequences import Sequence
from common.settings.frozen import Frozen, SiteName
from common.settings.monitoring import Monitoring
from common.settings.problems import problems_of
from common.settings.toml_text import read_toml

LayoutName = Literal["auto", "brats2021", "brats2023", "bids", "cbsi", "ucsf-pdgm"]
HOURS = r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$"
METRIC_PATTERN = re.compile(r"[a-z*][A-Za-z0-9_.:/*-]{0,127}")
ROLES = (*(sequence.value for sequence in Sequence), "brain", "labels")


class LayoutConfig(Frozen):
    """How the site names its files; the default recognises the published layouts.

    Attributes:
        name: one of the known layouts, or `auto`.
        patterns: for any other layout: sequence (or `brain`, `labels`) to path pattern below the site's folder, e.g.
            `T1 = "{case}/pre_*.nii.gz"`; `{case}` is required, `{patient}`, `*` and `**` are allowed.
        label_kind: what `labels` marks: `whole` tumour as 1, or `full` NCR 1, ED 2, ET `et_label`.
        et_label: the value of enhancing tumour in full labels, 4 (BraTS 2021) or 3 (BraTS 2023).
        ignore: patterns of files to leave out, e.g. `**/*_localizer.nii.gz`.
    """

    name: LayoutName = "auto"
    patterns: dict[str, str] = Field(default_factory=dict)
    label_kind: Literal["whole", "full"] | None = None
    et_label: Literal[3, 4] | None = None
    ignore: tuple[str, ...] = ()

    @field_validator("patterns")
    @classmethod
    def _check_patterns(cls, patterns: dict[str, str]) -> dict[str, str]:
        for role, pattern in patterns.items():
            if role not in ROLES:
                raise ValueError(f"{role!r} is no sequence; use one of {', '.join(ROLES)}")
            if "{case}" not in pattern or set(re.findall(r"{(.*?)}", pattern)) - {"case", "patient"}:
                raise ValueError(f"{role} = {pattern!r} needs {{case}}; only {{patient}} may stand beside it")
        if patterns and not set(patterns) - {"brain", "labels"}:
            raise ValueError("names no sequence")
        return patterns

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.patterns and self.name != "auto":
            raise ValueError("name: leave it out where patterns are given")
        if "labels" in self.patterns and self.label_kind is None:
            raise ValueError('label_kind: say what patterns.labels marks, "whole" or "full"')
        return self


class PatientKey(Frozen):
    """What joins the sessions and duplicates of one patient; splits, weights and privacy go by it.

    `auto` takes `patient_id` of participants.tsv where there is one, else the layout's; `layout` never looks at the
    table; `participants` requires a `patient_id` for every case; `pattern` takes the first group of `pattern` in the
    case's name.
    """

    source: Literal["auto", "layout", "participants", "pattern"] = "auto"
    pattern: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source == "pattern") != (self.pattern is not None):
            raise ValueError('pattern: give it with source = "pattern", and only then')
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groups
            except re.error as error:
                raise ValueError(f"pattern: not a regular expression ({error})") from None
            if groups < 1:
                raise ValueError("pattern: put parentheses around the part that names the patient")
        return self


class Policy(Frozen):
    """What the site allows, whatever a study asks.

    Attributes:
        minimum_patients: a sequence held by fewer training patients is not offered to a study.
        sequences: the sequences that may be used; absent means all.
        approve_everything: whether any study may run although nobody read its plan: for simulations alone.
        hours: when a message may begin to be worked on, local time, such as `20:00-06:00`; absent: at any time. A round
            that was begun is finished.
        gpu_memory_gb: GPU memory that training may take, in 1e9 bytes; on a CPU it has no effect.
        disk_gb: what `workdir` may hold, in 1e9 bytes; nothing is written to it beyond.
        metrics: patterns of the numbers that may leave, such as `training.*`; absent: all that the plan names.
        epsilon_budget: the most that private training may cost a patient over all studies, at `budget_delta`; absent:
            what each approved study allows.
        single_owner_heads_in_clear: whether, under secure aggregation, the heads of this site's own domains may leave
            without a mask: nobody else trains them, so that no sum hides them. Without it they stay.
        keep_scanner: whether `import-dicom` may keep manufacturer and model of the scanner beside a scan.
    """

    minimum_patients: Annotated[int, Field(ge=1, le=10_000_000)] = 5
    sequences: tuple[Sequence, ...] | None = None
    approve_everything: bool = False
    hours: Annotated[str, Field(pattern=HOURS)] | None = None
    gpu_memory_gb: Annotated[float, Field(gt=0, le=10_000)] | None = None
    disk_gb: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    metrics: Annotated[tuple[str, ...], Field(max_length=256)] | None = None
    epsilon_budget: Annotated[float, Field(gt=0, le=1000)] | None = None
    budget_delta: Annotated[float, Field(gt=0, le=0.01)] = 1e-5
    single_owner_heads_in_clear: bool = False
    keep_scanner: bool = False

    @field_validator("hours")
    @classmethod
    def _check_hours(cls, hours: str | None) -> str | None:
        if hours is not None and hours[:5] == hours[6:]:
            raise ValueError("begin and end are the same; leave hours out where any time will do")
        return hours

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in patterns or ():
            if not METRIC_PATTERN.fullmatch(pattern) or ("/" not in pattern and not filter_names(VOCABULARY, pattern)):
                raise ValueError(f'{pattern!r} fits no number that could leave; give such as "training.*"')
        return patterns

    def allows(self, sequence: Sequence) -> bool:
        """Say whether `sequence` may be used at all."""
        return self.sequences is None or sequence in self.sequences

    def lets_out(self, number: str) -> bool:
        """Say whether the number of this name may leave, where plan and study let it."""
        return self.metrics is None or any(fnmatchcase(number, pattern) for pattern in self.metrics)

    def is_open(self, at: time) -> bool:
        """Say whether a message may be worked on at this time of the day; hours may go over midnight."""
        if self.hours is None:
            return True
        begin, end = (time.fromisoformat(each) for each in self.hours.split("-"))
        return begin <= at < end if begin < end else at >= begin or at < end


class Hardware(Frozen):
    """What this site's machine can do; it changes how fast a study is trained, not what is trained.

    Attributes:
        compile: whether networks are compiled; `auto` compiles on a GPU.
        prefetch: whether a thread draws the next batches; `auto` does so beside a GPU.
        micro_batch: most slices that go through a network at once; absent: all, and fewer once memory has run out.
    """

    compile: Literal["auto", "on", "off"] = "auto"
    prefetch: Literal["auto", "on", "off"] = "auto"
    micro_batch: Annotated[int, Field(ge=1, le=512)] | None = None


class Connection(Frozen):
    """How this site reaches the server, where it cannot do so directly.

    Attributes:
        proxy: `http://user:password@host:port`, or `https://…`; characters of the password that have a meaning in an
            address are written as %40 and the like. It is never printed.
        extra_ca: PEM file of the authority whose certificates an inspecting proxy shows in the server's place.
    """

    proxy: SecretStr | None = None
    extra_ca: Path | None = None

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is not None:
            try:
                parts = urlsplit(proxy.get_secret_value())
                known = parts.scheme in ("http", "https") and parts.hostname and parts.port
            except ValueError:
                known = False
            if not known or parts.path.strip("/") or parts.query or parts.fragment:
                raise ValueError("must be http://host:port or http://user:password@host:port, https:// likewise")
        return proxy


class SiteConfig(Frozen):
    """One hospital. `folder` holds its scans and is never written to; `workdir` takes the cache and the local state.

    `signing_key` is the file of the private key whose public half stands in the roster, PEM; `roster` the site's own
    copy of the roster, set beside a plan's keys where a person reads it, and trusted itself where none is approved.
    """

    schema_version: Literal[1] = 1
    name: SiteName
    folder: Path
    workdir: Path
    signing_key: Path | None = None
    roster: Path | None = None
    layout: LayoutConfig = LayoutConfig()
    patient: PatientKey = PatientKey()
    policy: Policy = Policy()
    hardware: Hardware = Hardware()
    connection: Connection = Connection()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.workdir.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError("workdir: lies inside folder, which is never written to; choose a place beside it")
        return self


def parse_site(text: str, base: Path, origin: str = "site") -> SiteConfig:
    """Parse the text of a `site.toml`; relative paths in it start at `base`.

    Raises:
        StudyError: with every problem found, each with the line to change.
    """
    tree = read_toml(text, origin)
    for key in ("folder", "workdir", "signing_key", "roster"):
        if isinstance(tree.get(key), str):
            tree[key] = _placed(tree[key], base, f"{origin}: {key}")
    connection = tree.get("connection")
    if isinstance(connection, dict) and isinstance(connection.get("extra_ca"), str):
        connection["extra_ca"] = _placed(connection["extra_ca"], base, f"{origin}: connection.extra_ca")
    try:
        # By way of JSON, for which pydantic's strict mode takes arrays as tuples and text as paths, but no "5" as 5.
        return SiteConfig.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise StudyError(problems_of(error, origin, text, "site")) from None


def _placed(given: str, base: Path, where: str) -> str:
    """Return a path as it is meant from `base`. Raises StudyError where it begins with the `~` of nobody here."""
    try:
        return str(base / Path(given).expanduser())
    except RuntimeError:
        raise StudyError(f"{where}: {given!r} begins with a user who is not known here; give the whole path") from None


def load_site(path: Path) -> SiteConfig:
    """Read and parse the `site.toml` at `path`. Raises StudyError where it is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({type(error).__name__}); give the path of a site.toml") from None
    return parse_site(text, base=path.resolve().parent, origin=str(path))
