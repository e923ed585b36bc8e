"""Patients who were withdrawn at their site: its answers to a run say how many, and the journal keeps it."""

from __future__ import annotations

from flwr.app import RecordDict

from common.records import ANSWER, Answer, WireError, read_text
from server.journal import Journal


def note_withdrawn(journal: Journal, site: str, content: RecordDict | None) -> None:
    """Write down how many patients are withdrawn by an answer of `site`; one that cannot be read says nothing."""
    try:
        answer = None if content is None else read_text(content, ANSWER, Answer)
    except WireError:
        return
    if answer is not None and answer.site == site and answer.withdrawn:
        journal.note_withdrawn(site, answer.withdrawn)
