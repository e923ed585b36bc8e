"""What the journals and releases of a consortium hold, brought to MLflow: as often as one likes, from where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import GliofedError
from server.consortium.folder import Consortium
from server.facts import releases
from server.journal import Journal
from server.tracking.client import open_client
from server.tracking.program import address_of
from server.tracking.registry import mirror_release
from server.tracking.run_mirror import mirror_run


@dataclass(frozen=True)
class Mirrored:
    """What one call did.

    Attributes:
        runs: looked at.
        numbers: written, those of rounds that MLflow did not have.
        versions: of models, registered.
        left_out: folder → why it could not be read.
    """

    runs: int
    numbers: int
    versions: int
    left_out: dict[str, str]


def mirror(
    consortium: Consortium, address: str | None = None, on_run: Callable[[int, int], None] = lambda done, total: None
) -> Mirrored:
    """Bring MLflow up to date with a consortium's runs and releases; the runs themselves notice nothing.

    Args:
        address: of MLflow; None is the consortium's own.
        on_run: hears how many runs are done, of how many.
    Raises:
        GliofedError: where no MLflow answers.
    """
    folders = sorted(out for out in consortium.runs.iterdir() if out.is_dir()) if consortium.runs.is_dir() else []
    numbers, versions, left_out = 0, 0, {}
    with open_client(address or address_of(consortium)) as client:
        for done, out in enumerate(folders, start=1):
            try:
                with Journal.look_into(out) as journal:
                    numbers += mirror_run(client, journal)
            except GliofedError as error:
                left_out[out.name] = str(error)
            on_run(done, len(folders))
        for release in reversed(releases(consortium)):
            if release.problem is not None:
                left_out[release.digest[:12]] = release.problem
            else:
                versions += mirror_release(client, release, consortium.releases / release.digest)
    return Mirrored(len(folders), numbers, versions, left_out)
