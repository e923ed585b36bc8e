"""A figure that is exported: its name with its unit, what it says, and its labels."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "gliofed_"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: as Prometheus knows it, unit last (`_seconds`, `_bytes`); one that only grows ends in `_total`.
        about: one sentence, for the page and for `# HELP`.
        labels: names of what tells its values apart.
    """

    name: str
    about: str
    labels: tuple[str, ...] = ()

    @property
    def only_grows(self) -> bool:
        """Whether it is a counter; every other one may fall."""
        return self.name.endswith("_total")

    def is_(self, value: float, *labels: object) -> Sample:
        """Return its value for these labels, in the order of `labels`."""
        assert len(labels) == len(self.labels), f"{self.name} has the labels {self.labels}"  # noqa: S101
        return Sample(self, float(value), tuple(map(str, labels)))


@dataclass(frozen=True)
class Sample:
    """A figure's value at one moment, for one choice of its labels."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()
