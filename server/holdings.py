"""What each site is known to hold of a run's tensors, by its own last answer: that is not sent again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flwr.app import RecordDict

from common.records import ANSWER, NEEDS_TENSORS, OK, Answer, WireError, read_text
from common.settings.stages import Stage


class Holdings:
    """Site → digests, and who has trained in a stage."""

    def __init__(self, holds: Mapping[str, frozenset[str]] | None = None) -> None:
        self._holds = dict(holds or {})
        self._trained: set[tuple[str, Stage]] = set()

    def of(self, site: str) -> frozenset[str]:
        """Return the digests that `site` holds, none where it never said."""
        return self._holds.get(site, frozenset())

    def has_trained(self, site: str, stage: Stage) -> bool:
        """Return whether `site` is known to have trained in `stage`, and so to have norms of its own."""
        return (site, stage) in self._trained

    def note(self, site: str, content: RecordDict | None, named: Collection[str], stage: Stage | None = None) -> None:
        """Take in an answer of `site`: `ok` means that it holds all that its task `named`, else it says what it holds.

        In a `stage`, a site that lacks tensors may have lost its norms too. An answer that is an error says nothing.
        """
        try:
            answer = None if content is None else read_text(content, ANSWER, Answer)
        except WireError:
            return
        if answer is not None and answer.site == site and answer.code in (OK, NEEDS_TENSORS):
            self._holds[site] = frozenset(named if answer.code == OK else answer.holds)
            if stage is not None:
                (self._trained.add if answer.code == OK else self._trained.discard)((site, stage))
