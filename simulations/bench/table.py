"""A bench's report as the table that is printed."""

from __future__ import annotations

from simulations.bench.report import Measurement

COLUMNS = (
    *("model", "task", "form", "batch", "million parameters", "GFLOP", "seconds (least–most)", "processor s"),
    *("convolution peak", "matrix peak", "memory GB", "counted GB", "times faster", "times less processor"),
)


def row_of(measured: Measurement) -> list[str]:
    """Return one measurement as the cells of `COLUMNS`."""
    seconds = measured.seconds
    several = f" ({seconds.least:.3g}–{seconds.most:.3g})" if seconds.turns > 1 else ""
    steps = f", {measured.sampling_steps} steps" if measured.sampling_steps else ""
    return [
        measured.model.value,
        measured.task + steps,
        measured.form + (", extrapolated" if measured.extrapolated else f", {measured.precision}"),
        f"{measured.rows} x {measured.height} x {measured.width}",
        f"{measured.parameters / 1e6:.2f}",
        _number(measured.flops, 1e9),
        f"{seconds.median:.3g}{several}",
        f"{measured.processor_seconds.median:.3g}",
        _share(measured.convolution_share),
        _share(measured.matrix_share),
        _number(measured.peak_memory_bytes, 1e9),
        _number(measured.counted_memory_bytes, 1e9),
        _number(measured.times_faster),
        _number(measured.times_less_processor),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.3g}"
