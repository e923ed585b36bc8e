"""A run's progress on stderr: one bar over all training steps with time left, one line a round that counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.study import Study

if TYPE_CHECKING:
    from server.events import Event, Listener

SHOWN_METRICS = 4


@contextmanager
def training_progress(study: Study) -> Iterator[Listener]:
    """Show the training of `study`; the yielded listener takes the server's events."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("·"),
    )
    with Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=Console(stderr=True)) as bar:
        task = bar.add_task("calling the sites", total=total_steps(study))
        count = StepCount(study)

        def listen(event: Event) -> None:
            text, line = count.hear(event)
            bar.update(task, completed=count.done, description=text)
            if line:
                bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield listen


def total_steps(study: Study) -> int:
    """Return the optimiser steps of all stages, rounds and sites."""
    settings = [study.stages.of(stage) for stage in study.stages.present]
    return sum(each.rounds * each.local_steps for each in settings if each is not None) * len(study.sites)


class StepCount:
    """Counts the steps that are behind a run, whatever events it hears and wherever it began."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.before = 0
        self.done = 0
        self.text = "calling the sites"

    def hear(self, event: Event) -> tuple[str, str]:
        """Take an event; return what is going on, and a line to keep, empty for most events."""
        from server.events import (
            AlarmRaised,
            AssessmentStarted,
            RoundFinished,
            RoundStarted,
            RunPlanned,
            SiteAnswered,
            SiteAssessed,
            SiteProgress,
            StageStarted,
        )

        line = ""
        if isinstance(event, RunPlanned):
            patients = ", ".join(f"{entry.site} {entry.training_patients}" for entry in event.plan.inventory)
            line = f"plan: training patients {patients}"
        elif isinstance(event, StageStarted):
            self.before = self._before(event.stage) + event.finished_rounds * self._round_steps(event.stage)
        elif isinstance(event, RoundStarted):
            self.text = f"{event.stage} {event.round}/{event.rounds}"
        elif isinstance(event, SiteProgress):
            self.text = f"{event.stage} {event.round}/{event.rounds} {event.site}"
            self.done += 1
        elif isinstance(event, SiteAnswered) and event.code != "ok":
            line = f"{event.stage} {event.round}: {event.site} does not count ({event.code})"
        elif isinstance(event, AlarmRaised):
            line = f"{event.stage} {event.round}: {event.alarm.site} alarms ({event.alarm.kind})"
        elif isinstance(event, AssessmentStarted):
            self.text = "the sites judge the release"
        elif isinstance(event, SiteAssessed) and event.code != "ok":
            line = f"assessment: {event.site} does not count ({event.code})"
        elif isinstance(event, RoundFinished):
            self.before += self._round_steps(event.stage)
            metrics = list(event.record["metrics"].items())[:SHOWN_METRICS]
            figures = "  ".join(f"{name} {value:.3f}" for name, value in metrics)
            line = f"{event.stage} {event.round}/{event.rounds}  {event.record['seconds']:.1f} s  {figures}"
        if not isinstance(event, SiteProgress):
            self.done = max(self.done, self.before)
        return self.text, line

    def _round_steps(self, stage: str) -> int:
        settings = next(self.study.stages.of(each) for each in self.study.stages.present if each == stage)
        return (settings.local_steps if settings else 0) * len(self.study.sites)

    def _before(self, stage: str) -> int:
        total = 0
        for each in self.study.stages.present:
            if each == stage:
                break
            settings = self.study.stages.of(each)
            total += (settings.rounds if settings else 0) * self._round_steps(each)
        return total
