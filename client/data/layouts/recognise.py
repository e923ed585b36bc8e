"""From a folder to its scan files and the layout that names them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from client.config import SiteConfig
from client.data.cache import LabelKind
from client.data.layouts import LAYOUTS
from client.data.layouts.cbsi import STATUS_FOLDER
from client.data.layouts.layout import NIFTI_SUFFIX, Extra, Layout
from client.data.layouts.mapping import mapped_layout
from common.errors import DataError

KNOWN = "BraTS 2021, BraTS 2023, BIDS, CBSI and UCSF-PDGM"


def root_of(folder: Path, site: SiteConfig | None) -> Path:
    """Return the folder below which names are read: `folder`, or the site's where `folder` is one case of it.

    Args:
        folder: absolute path.
        site: the site's settings; a mapped layout starts at the site's own folder.
    """
    if site is not None and site.layout.patterns:
        home = Path(os.path.abspath(site.folder))  # noqa: PTH100 - as the caller does
        return home if folder.is_relative_to(home) else folder
    root = folder
    while re.fullmatch(r"sub-.+|ses-.+|anat", root.name):
        root = root.parent
    if root != folder:
        return root
    if STATUS_FOLDER.fullmatch(root.name):
        return root.parent
    if any(_is_nifti(path.name) for path in root.iterdir()):
        return root.parent.parent if STATUS_FOLDER.fullmatch(root.parent.name) else root.parent
    return root


def nifti_files(folder: Path, root: Path) -> list[PurePosixPath]:
    """Return the NIfTI files of `folder`, and the derivatives of a BIDS subject, sorted and relative to `root`.

    Raises:
        DataError: where there is none.
    """
    found = set(_walk(folder))
    if folder != root and (root / "derivatives").is_dir():
        owners = {part for part in folder.relative_to(root).parts if part.startswith(("sub-", "ses-"))}
        found |= {path for path in _walk(root / "derivatives") if owners and owners <= set(path.parts)}
    if not found:
        raise DataError(f"{folder}: holds no NIfTI file (*.nii, *.nii.gz); give the folder that holds the site's scans")
    return sorted(PurePosixPath(path.relative_to(root).as_posix()) for path in found)


def choose_layout(files: list[PurePosixPath], folder: Path, site: SiteConfig | None) -> Layout:
    """Return the layout that the site maps or names, or else the one that understands most files.

    Raises:
        DataError: where it understands none.
    """
    settings = site.layout if site is not None else None
    if settings is not None and settings.patterns:
        kind = LabelKind(settings.label_kind or LabelKind.NONE)
        candidates = [mapped_layout(settings.patterns, kind, settings.et_label or 4)]
    else:
        candidates = [layout for layout in LAYOUTS if settings is None or settings.name in ("auto", layout.name)]
    understood = {layout.name: sum(_useful(layout, path) for path in files) for layout in candidates}
    layout = max(candidates, key=lambda each: understood[each.name])
    if not understood[layout.name]:
        expected = KNOWN if len(candidates) > 1 else f"its layout ({layout.name})"
        raise DataError(
            f"{folder}: none of its {len(files)} NIfTI files is named as in {expected} (e.g. {files[0]}); "
            "map its names under [layout.patterns] in a site.toml and give it with --site"
        )
    if settings is None:
        return layout
    kind = LabelKind(settings.label_kind) if settings.label_kind else layout.label_kind
    return replace(layout, label_kind=kind, et_label=settings.et_label or layout.et_label)


def _useful(layout: Layout, path: PurePosixPath) -> bool:
    scan = layout.read(path)
    return scan is not None and scan.role is not Extra.IGNORED


def _walk(folder: Path) -> Iterable[Path]:
    """Yield the NIfTI files below `folder`: hidden ones left out, a linked folder followed once."""
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        known = real in visited
        visited.add(real)
        folders[:] = [] if known else [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if _is_nifti(name) and not known)


def _is_nifti(name: str) -> bool:
    return not name.startswith(".") and re.search(f"{NIFTI_SUFFIX}$", name) is not None
