"""Every case of a site prepared once: content-addressed, in parallel, resumable at any instant."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from client.data.cache import CachedCase, CacheFullError, open_case, write_case
from client.data.catalog import CatalogCase
from common.errors import DataError
from common.sequences import Sequence
from common.study import Grid, Study

OnCase = Callable[[int, int], None]
"""Called with the number of cases that are done and the number of all."""


class PrepareSettings(BaseModel):
    """How cases are prepared; part of the name of what comes out.

    Attributes:
        grid: the study's voxel grid.
        n4: whether the bias field is removed; never from a quantitative map.
        register_sequences: `auto` leaves sequences where they are if they share one grid and are stripped, or a mask
            came with them; `always` and `never` do as they say.
        sequences: those to prepare, all that are known by default.
        t1_scaling: the study's; see `client.imaging.intensity`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: Grid = Grid()
    n4: bool = True
    register_sequences: Literal["auto", "always", "never"] = "auto"
    sequences: tuple[Sequence, ...] | None = None
    t1_scaling: Literal["grey", "pre-contrast-maximum"] = "grey"

    @classmethod
    def of(cls, study: Study) -> PrepareSettings:
        """Return how every site prepares its cases for `study`."""
        return cls(grid=study.grid, t1_scaling=study.data.t1_scaling)


@dataclass(frozen=True)
class PrepareOutcome:
    """What became of the cases.

    Attributes:
        cases: those that are prepared, in the order in which they were given.
        failures: the others' names, each with what to mend.
    """

    cases: tuple[CachedCase, ...]
    failures: dict[str, str]


def prepare_cases(
    cases: Iterable[CatalogCase],
    settings: PrepareSettings,
    cache_dir: Path,
    workers: int = 1,
    on_case: OnCase | None = None,
) -> PrepareOutcome:
    """Prepare cases into `cache_dir`; those that are there already cost no more than reading their files once.

    The result does not depend on `workers`. A case that cannot be prepared does not stop the others.

    Args:
        workers: processes; more than one needs a main module that can be imported again (multiprocessing's `spawn`).
        on_case: listens to progress.
    Raises:
        DataError: the cache cannot be written, or a worker was killed; what is prepared by then stays.
    """
    listed = list(cases)
    _remove_leftovers(cache_dir)
    task = partial(_try_case, settings=settings, cache_dir=cache_dir)
    paths: dict[int, Path] = {}
    failures: dict[str, str] = {}
    for done, (number, result) in enumerate(_spread(task, listed, workers), start=1):
        if isinstance(result, Path):
            paths[number] = result
        else:
            failures[listed[number].case] = result
        if on_case is not None:
            on_case(done, len(listed))
    return PrepareOutcome(tuple(open_case(paths[number]) for number in sorted(paths)), failures)


def prepare_case(case: CatalogCase, settings: PrepareSettings, cache_dir: Path) -> CachedCase:
    """Prepare one case, unless it is there already.

    Raises:
        DataError: naming the file that cannot be used, or that the cache cannot be written.
    """
    path = cache_dir / f"{digest_of(case, settings)}.safetensors"
    if path.exists():
        try:
            return open_case(path)
        except DataError:
            path.unlink()
    from client.data.preparation import prepare

    prepared = prepare(case, settings)
    write_case(path, prepared.arrays, prepared.facts)
    return open_case(path)


def digest_of(case: CatalogCase, settings: PrepareSettings) -> str:
    """Return the SHA-256 over a case's files, what is known of it, the settings and the code that prepares it.

    Raises:
        DataError: where a file cannot be read.
    """
    wanted = settings.sequences or tuple(case.images)
    facts = {
        "files": {each.value: _file_digest(path) for each, path in case.images.items() if each in wanted},
        "brain_mask": None if case.brain_mask is None else _file_digest(case.brain_mask),
        "labels": None if case.labels is None else _file_digest(case.labels),
        "case": [case.case, case.patient, case.label_kind, case.bbb_disrupted, case.et_label],
        "settings": settings.model_dump(mode="json"),
        "code": _code_digest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); run catalog to see what the folder holds"
        ) from None


@cache
def _code_digest() -> str:
    """Return the SHA-256 over the sources that decide what a prepared case looks like."""
    here = Path(__file__).resolve().parent
    sources = [*sorted((here.parent / "imaging").glob("*.py")), here / "preparation.py", here / "cache.py"]
    total = hashlib.sha256()
    for source in sources:
        total.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return total.hexdigest()


def _try_case(case: CatalogCase, settings: PrepareSettings, cache_dir: Path) -> Path | str:
    """Return the path of the prepared case, or what is wrong with it. Raises only where no case could be written."""
    try:
        return prepare_case(case, settings, cache_dir).path
    except CacheFullError:
        raise
    except DataError as error:
        return str(error)


def _spread(
    task: Callable[[CatalogCase], Path | str], cases: list[CatalogCase], workers: int
) -> Iterator[tuple[int, Path | str]]:
    """Yield the index and the result of each case as it is done."""
    if workers <= 1 or len(cases) <= 1:
        yield from ((number, task(case)) for number, case in enumerate(cases))
        return
    # Not fork: a parent that has run PyTorch holds threads and locks that a copy of it would wait for for ever.
    pool = ProcessPoolExecutor(min(workers, len(cases)), mp_context=get_context("spawn"))
    try:
        running: dict[Future[Path | str], int] = {pool.submit(task, case): number for number, case in enumerate(cases)}
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise DataError(
            "a worker was killed while preparing, most likely for want of memory; run again with fewer workers, "
            "it goes on with what is left"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _remove_leftovers(cache_dir: Path) -> None:
    """Remove what a killed process left half written: its name holds the process's number."""
    for part in cache_dir.glob(".*.safetensors.*.part"):
        writer = part.name.split(".")[-2]
        if not (writer.isdigit() and _is_running(int(writer))):
            part.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
