"""One series to one volume by dcm2niix, which is not believed: its answer is held against the headers."""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.dicom.classic import write_classic
from client.dicom.series import Series
from common.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.shapes import Affine

TIMEOUT_S = 900
OPTIONS = (
    *("-b", "n"),  # no sidecar: it would carry names and dates
    *("-f", "image"),  # no name made of tags
    *("-z", "n", "-d", "0", "-m", "n", "-i", "n", "-x", "n", "-w", "0", "-p", "y", "-l", "o", "-v", "0"),
    *("-g", "i"),  # nobody's defaults file
)


class ConversionRefusedError(DataError):
    """A series did not become one volume at the place that its headers say."""


def convert(series: Series, workplace: Path) -> tuple[NDArray[Any], Affine]:
    """Return a series' voxels (I, J, K), RAS+, and their affine.

    Whole numbers that fit are int16, all else float32.

    Args:
        series: one that has a grid.
        workplace: folder for temporary files, on the disk of the result.
    Raises:
        ConversionRefusedError: the converter failed, gave none or several files, or another grid.
    """
    from client.imaging.nifti import read_volume

    with tempfile.TemporaryDirectory(dir=workplace, prefix="series-") as folder:
        # The converter works in this folder: a relative path would begin there.
        home = Path(folder).absolute()
        source, target = home / "in", home / "out"
        source.mkdir()
        target.mkdir()
        _provide(series, source)
        _run([str(_program()), *OPTIONS, "-o", str(target), str(source)], home)
        files = sorted(path.name for path in target.iterdir())
        if files != ["image.nii"]:
            made = len([name for name in files if name.endswith(".nii")])
            raise ConversionRefusedError(
                f"the converter made {made} volumes of it where one was expected; export it again"
            )
        try:
            volume = read_volume(target / "image.nii")
        except DataError:
            raise ConversionRefusedError("the converter's file cannot be read; export it again") from None
    if series.grid is None or not series.grid.agrees(volume.native_shape, volume.native_affine):
        raise ConversionRefusedError("the converter placed it otherwise than its headers say; export it again")
    return _plain(volume.data), volume.affine


def _provide(series: Series, folder: Path) -> None:
    """Put one object a slice into `folder`: links to classic ones, or all written out.

    Frames are, and images in several fragments, which dcm2niix fails on in RLE and JPEG-LS; then the whole series
    is, for slices with different UIDs would become two volumes.
    """
    written = any(header.frame or len(header.pixels.pieces) > 1 for header in series.slices)
    for number, header in enumerate(series.slices, start=1):
        place = folder / f"{number:06}.dcm"
        if written:
            try:
                write_classic(header, place, number)
            except (OSError, ValueError):
                raise ConversionRefusedError("its object cannot be read, or has changed; run it again") from None
        else:
            place.symlink_to(header.path.absolute())


def _program() -> Path:
    return Path(import_module("dcm2niix").bin)


def _run(command: list[str], home: Path) -> None:
    """Run the converter in silence: what it says names files and patients."""
    environment = {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C"}
    try:
        subprocess.run(command, env=environment, cwd=home, capture_output=True, check=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ConversionRefusedError(f"the converter did not end within {TIMEOUT_S} s; export it again") from None
    except subprocess.CalledProcessError as error:
        raise ConversionRefusedError(
            f"the converter failed (status {error.returncode}); export it again, or see what dcm2niix says of it"
        ) from None


def _plain(data: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    fits = data.size and data.min() >= -32768 and data.max() <= 32767 and bool((data == np.rint(data)).all())
    return data.astype(np.int16) if fits else data
