"""What a site has: its cases, and for each its sequences, masks, labels, patient and BBB status.

Names and tables tell it; of an image only the header is opened, to refuse what a release has drawn.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from client.config import PatientKey, SiteConfig
from client.data.cache import LabelKind
from client.data.checks.finding import Finding, Severity
from client.data.checks.provenance import is_marked, synthetic
from client.data.layouts.layout import Extra, Layout, ScanFile
from client.data.layouts.mapping import pattern_to_regex
from client.data.layouts.recognise import choose_layout, nifti_files, root_of
from client.data.patients import join_tables
from common.errors import DataError
from common.sequences import Sequence


@dataclass(frozen=True)
class CatalogCase:
    """One patient's session as it lies on disk.

    Attributes:
        case: its name at the site; never leaves it.
        patient: the key that joins a patient's cases; never leaves the site.
        images: the path of each sequence.
        brain_mask: the path of a brain mask, None where there is none.
        labels: the path of tumour labels, None where there are none.
        label_kind: what `labels` marks: nothing, the whole tumour, or NCR / ED / ET.
        bbb_disrupted: the BBB status, None where unknown.
        layout: the name of the layout that was recognised.
        grade: WHO grade 1 to 4, None where unknown.
        et_label: the value of enhancing tumour in full labels, 3 or 4.
    """

    case: str
    patient: str
    images: dict[Sequence, Path]
    brain_mask: Path | None = None
    labels: Path | None = None
    label_kind: LabelKind = LabelKind.NONE
    bbb_disrupted: bool | None = None
    layout: str = ""
    grade: int | None = None
    et_label: int = 4


@dataclass(frozen=True)
class Catalog:
    """All cases of a folder, sorted by name.

    Attributes:
        folder: the folder that was scanned.
        layout: the name of its layout.
        cases: the cases that have at least one sequence.
        ignored: NIfTI files that are known and of no use, or that the site asked to leave out.
        remarks: problems of names and tables; with an error among them `scan_folder` raises.
    """

    folder: Path
    layout: str
    cases: tuple[CatalogCase, ...]
    ignored: tuple[Path, ...] = ()
    remarks: tuple[Finding, ...] = ()

    @property
    def patients(self) -> tuple[str, ...]:
        """The distinct patient keys, sorted."""
        return tuple(sorted({case.patient for case in self.cases}))


@dataclass
class _Files:
    """The files of one case while they are being collected."""

    patient: str
    roles: dict[Sequence | Extra, list[Path]] = field(default_factory=dict)
    label_kind: LabelKind | None = None
    statuses: set[bool] = field(default_factory=set)


def scan_folder(folder: Path, site: SiteConfig | None = None) -> Catalog:
    """Return the catalog of a site's folder, or of a single case's.

    Args:
        folder: a folder in one of the known layouts, or in the layout that `site` maps.
        site: the site's settings: layout, patterns of files to ignore, source of the patient key.
    Raises:
        DataError: the folder is missing or empty, files are not understood, two files claim one sequence of a case,
            an image is marked synthetic, or participants.tsv is wrong; every problem at once, each with its remedy.
    """
    catalog = survey_folder(folder, site)
    problems = [remark for remark in catalog.remarks if remark.severity is Severity.ERROR]
    for case in catalog.cases:
        problems += [synthetic(path, case.case) for path in case.images.values() if is_marked(path)]
    if problems:
        raise DataError("\n".join(map(str, problems)))
    return catalog


def survey_folder(folder: Path, site: SiteConfig | None = None) -> Catalog:
    """Return the catalog with every problem of its names among its remarks, for `check`.

    Raises:
        DataError: where nothing can be read as a scan at all.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder that holds the site's scans, or one case's")
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100 - the names of linked folders count: not resolved
    root = root_of(absolute, site)
    files = nifti_files(absolute, root)
    layout = choose_layout(files, folder, site)
    found, ignored, remarks = _read_names(files, root, absolute, layout, site)
    cases = [_build(name, found[name], layout, remarks) for name in sorted(found)]
    remarks += [_lone_mask(case) for case in cases if not case.images]
    held, more = join_tables(
        [case for case in cases if case.images],
        folders=tuple(dict.fromkeys((absolute, root))),
        key=site.patient if site is not None else PatientKey(),
        whole_site=absolute == root,
    )
    return Catalog(folder, layout.name, tuple(held), tuple(ignored), (*remarks, *more))


def _read_names(
    files: list[PurePosixPath], root: Path, folder: Path, layout: Layout, site: SiteConfig | None
) -> tuple[dict[str, _Files], list[Path], list[Finding]]:
    """Return the files of each case, the files left out, and a finding for each name that is not understood."""
    skip = [pattern_to_regex(pattern) for pattern in site.layout.ignore] if site is not None else []
    cases: dict[str, _Files] = {}
    ignored: list[Path] = []
    remarks: list[Finding] = []
    for relative in files:
        path = root / relative
        names = {relative.as_posix(), path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""}
        scan = layout.read(relative)
        if any(rule.fullmatch(name) for rule in skip for name in names) or (scan and scan.role is Extra.IGNORED):
            ignored.append(path)
        elif scan is None:
            remarks.append(_unknown(path, layout))
        else:
            _collect(cases, scan, path)
    return cases, ignored, remarks


def _collect(cases: dict[str, _Files], scan: ScanFile, path: Path) -> None:
    entry = cases.setdefault(scan.case, _Files(scan.patient))
    entry.roles.setdefault(scan.role, []).append(path)
    entry.label_kind = scan.label_kind or entry.label_kind
    if scan.bbb_disrupted is not None:
        entry.statuses.add(scan.bbb_disrupted)


def _build(name: str, files: _Files, layout: Layout, remarks: list[Finding]) -> CatalogCase:
    """Return the case; two files for one role, or two BBB statuses, become remarks."""
    for role, paths in files.roles.items():
        if len(paths) > 1:
            others = ", ".join(str(path) for path in paths[1:])
            remedy = "keep one, or list the others under layout.ignore in site.toml"
            remarks.append(Finding(Severity.ERROR, name, paths[0], f"{role} again in {others}", remedy, "two-files"))
    if len(files.statuses) > 1:
        remedy = "remove it from one of them"
        remarks.append(Finding(Severity.ERROR, name, None, "lies in ET-1 and in ET-0", remedy, "two-statuses"))
    chosen = {role: paths[0] for role, paths in files.roles.items()}
    labels = chosen.get(Extra.LABELS)
    return CatalogCase(
        case=name,
        patient=files.patient,
        images={sequence: chosen[sequence] for sequence in Sequence if sequence in chosen},
        brain_mask=chosen.get(Extra.BRAIN),
        labels=labels,
        label_kind=LabelKind.NONE if labels is None else files.label_kind or layout.label_kind,
        bbb_disrupted=next(iter(files.statuses)) if len(files.statuses) == 1 else None,
        layout=layout.name,
        et_label=layout.et_label,
    )


def _unknown(path: Path, layout: Layout) -> Finding:
    words = ", ".join(Sequence)
    text = f"unknown sequence: the {layout.name} layout has no such name"
    remedy = f"rename it as that layout writes one of {words}, or list it under layout.ignore in site.toml"
    return Finding(Severity.ERROR, "", path, text, remedy, "unknown-sequence")


def _lone_mask(case: CatalogCase) -> Finding:
    path = case.labels or case.brain_mask
    remedy = "add its scans, or give the mask the name of the case that it belongs to"
    return Finding(
        Severity.WARNING, case.case, path, "a mask without any sequence; the case is left out", remedy, "lone-mask"
    )
