"""What the voxels of one file say: finite, not constant, labels within the convention, masks not empty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.data.cache import LabelKind
from client.data.checks.finding import Finding, Severity
from client.data.checks.reading import RawScan

Values = NDArray[np.float32]


def check_image(scan: RawScan, case: str) -> list[Finding]:
    """Return findings about the voxels of a sequence."""
    data = scan.volume
    if found := _not_finite(scan, case):
        return found
    if data.min() == data.max():
        text = "all-zero" if not data.any() else f"constant: every voxel is {data.flat[0]:g}"
        return [Finding(Severity.ERROR, case, scan.path, text, "export the scan again, or remove it", "all-zero")]
    return []


def check_brain_mask(scan: RawScan, case: str) -> list[Finding]:
    """Return findings about a brain mask: all that is above zero is brain."""
    if found := _not_finite(scan, case):
        return found
    if scan.volume.max() <= 0:
        remedy = "draw it again, or remove it: the client then extracts the brain itself"
        return [Finding(Severity.ERROR, case, scan.path, "mask empty", remedy, "mask-empty")]
    return []


def check_labels(scan: RawScan, case: str, kind: LabelKind, et_label: int) -> list[Finding]:
    """Return findings about tumour labels: 0 and 1 for a whole tumour; 0, 1, 2 and `et_label` for full ones."""
    if found := _not_finite(scan, case):
        return found
    values = label_values(scan.volume)
    expected = [0, 1] if kind is LabelKind.WHOLE else [0, 1, 2, et_label]
    strange = sorted(set(values) - set(expected))
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5]) + (", …" if len(strange) > 5 else "")
        text = f"label values outside the convention: {shown}; expected {', '.join(map(str, expected))}"
        return [Finding(Severity.ERROR, case, scan.path, text, _label_remedy(strange, kind), "labels")]
    if values == [0]:
        remedy = "draw the tumour, or remove the file: an empty mask teaches that there is none"
        return [Finding(Severity.ERROR, case, scan.path, "mask empty", remedy, "mask-empty")]
    return []


def label_values(data: Values) -> list[float]:
    """Return the distinct values of a label volume, sorted; whole numbers of a byte are counted, not sorted."""
    if data.min() >= 0 and data.max() <= 255:
        codes = data.astype(np.uint8)
        if np.array_equal(codes, data):
            return [float(value) for value in np.flatnonzero(np.bincount(codes.ravel(), minlength=1))]
    return [float(value) for value in np.unique(data)]


def _label_remedy(strange: list[float], kind: LabelKind) -> str:
    if any(value != int(value) for value in strange):
        return "resample labels with nearest neighbours, never by interpolation"
    if kind is LabelKind.FULL and strange == [3.0]:
        return "write enhancing tumour as 4, or set layout.et_label = 3 in site.toml"
    if kind is LabelKind.FULL and strange == [4.0]:
        return (
            "write enhancing tumour as 3 (in BraTS 2024 4 is the resection cavity: make it 0), or set layout.et_label"
        )
    if kind is LabelKind.WHOLE:
        return 'make the tumour 1, or set layout.label_kind = "full" in site.toml'
    return "map them to 1 NCR, 2 ED, 4 ET (3 ET in BraTS 2023)"


def _not_finite(scan: RawScan, case: str) -> list[Finding]:
    bad = int(np.count_nonzero(~np.isfinite(scan.volume)))
    if not bad:
        return []
    text = f"{bad} voxels are NaN or infinite"
    remedy = "set them to 0 if they lie outside the head, else export the scan again"
    return [Finding(Severity.ERROR, case, scan.path, text, remedy, "not-finite")]
