"""A federation killed at every boundary, and what is left when it has gone on: the bytes of the undisturbed one.

Coordinator and sites share the killed process, so each point takes all of them down at once, as a power cut in the
house does.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import FederationError
from simulations.chaos.scene import Scene


@dataclass(frozen=True)
class Crash:
    """A crash point and what came of it.

    Attributes:
        number: from 1, in the order of the undisturbed run.
        name: the call before or after which the process died.
        repeated: trainings that were begun twice; only one whose answer was not kept may be.
        problem: what was wrong after the run had gone on; empty where nothing was.
    """

    number: int
    name: str
    repeated: int
    problem: str


def crash_everywhere(
    folder: Path, choose: Callable[[int], Sequence[int]] = lambda count: range(1, count + 1)
) -> Iterator[Crash]:
    """Play the federation once undisturbed, then once for each chosen point: killed there, and resumed.

    Args:
        folder: takes the scenes; what a scene of a problem left is kept in `failed-<number>`.
        choose: which of the points, 1 … count, are tried.
    Raises:
        FederationError: where not even the undisturbed run completes.
    """
    fresh = Scene.set_up(folder / "fresh")
    undisturbed = fresh.copy_to(folder / "undisturbed")
    if undisturbed.play(resume=False, boundaries=True) != 0:
        raise FederationError(f"the undisturbed run failed; look into {undisturbed.folder / 'fork.log'}")
    undisturbed.warm()
    names = undisturbed.points()
    for number in choose(len(names)):
        scene = fresh.copy_to(folder / "cut")
        crash = _crash(scene, undisturbed, number, names[number - 1])
        if crash.problem:
            scene.copy_to(folder / f"failed-{number}")
        yield crash


def _crash(scene: Scene, undisturbed: Scene, number: int, name: str) -> Crash:
    died = scene.play(resume=False, boundaries=True, strike_at=number)
    before, kept, begun = scene.counted(), scene.kept(), scene.trainings()
    resumed = scene.play(resume=True)
    trainings = scene.trainings()
    twice = {entry for entry, times in trainings.items() if times > 1}
    problems = [
        (died != -signal.SIGKILL, f"was to be killed, and ended with {died}"),
        (resumed != 0, f"resumed, it ended with {resumed}"),
        (resumed == 0 and scene.fingerprint() != undisturbed.fingerprint(), "ended with other bytes"),
        (bool(before.items() - scene.counted().items()), "a round that counted was lost"),
        (set(trainings) != set(undisturbed.trainings()), "trained other rounds than the undisturbed run"),
        (bool(twice & kept), f"trained again what was kept: {', '.join(sorted(twice & kept))}"),
        (max(trainings.values(), default=0) > 2, "trained a round more than twice"),
        (len(twice) > 1, f"trained {len(twice)} rounds again, of {len(begun)} begun"),
    ]
    return Crash(number, name, len(twice), "; ".join(text for wrong, text in problems if wrong))
