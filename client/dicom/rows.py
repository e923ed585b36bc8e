"""One row a candidate volume: whose it is, what it was taken for and why, and what is proposed. A person decides."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from client.dicom.patient_key import PatientSecret
from client.dicom.people import disputes
from client.dicom.recognise import Confidence, Recognition, recognise
from client.dicom.series import Series, group
from client.dicom.survey import Survey
from common.sequences import Sequence

SAME_OBJECT = "two different objects of it have one SOPInstanceUID; export it again"
LOST = "it was compressed with loss: its values are no longer those measured; prefer the original images"
UNKNOWN_AGENT = "nothing says whether contrast agent was given"


class State(StrEnum):
    """What becomes of a row: taken as proposed, decided by a person, left out as unnamed, never taken."""

    PROPOSED = "proposed"
    UNDECIDED = "undecided"
    UNNAMED = "unnamed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Row:
    """One candidate volume.

    Attributes:
        key: its name, bound to the objects it is made of.
        patient: the patient's key.
        session: the study's key.
        day: days since the patient's first study in the folder, None where a date is missing; no date is kept.
        series: its slices.
        recognition: what it was taken for.
        problems: why it can never be taken.
        doubts: why nothing is proposed.
    """

    key: str
    patient: str
    session: str
    day: int | None
    series: Series
    recognition: Recognition
    problems: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def state(self) -> State:
        """What becomes of it."""
        if self.problems:
            return State.REFUSED
        if self.doubts:
            return State.UNDECIDED
        return State.UNNAMED if self.recognition.sequence is None else State.PROPOSED

    @property
    def take(self) -> str:
        """What stands in the table's last column: a sequence, `?` or `no`."""
        if self.state is State.UNDECIDED:
            return "?"
        return str(self.recognition.sequence) if self.state is State.PROPOSED else "no"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Everything a person should know of it, the worst first."""
        return (*self.problems, *self.doubts, *self.recognition.notes)


def build_rows(found: Survey, secret: PatientSecret) -> list[Row]:
    """Return the rows of a folder by patient, day and series number; the order of files does not matter."""
    whose = disputes(found.headers)
    rows = []
    for series in group(found.headers):
        header = series.header
        contested = (SAME_OBJECT,) if header.series in found.contested else ()
        patient = secret.patient(header.patient_id, header.issuer)
        recognition = _recognise_all(series)
        named = recognition.sequence is not None
        lost = (LOST,) if series.lossy else ()
        if not named:
            recognition = replace(recognition, notes=(*recognition.notes, *lost))
        rows.append(
            Row(
                key=secret.series(header.series, tuple(each.name for each in series.slices)),
                patient=patient,
                session=secret.session(patient, header.study),
                day=None,
                series=series,
                recognition=recognition,
                problems=(*whose.get(header.series, ()), *contested, *recognition.bars, *series.problems),
                doubts=(*recognition.doubts, *((*lost, *series.doubts) if named else ())),
            )
        )
    rows = _with_days(rows)
    sessions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sessions[row.session].append(row)
    rows = [row for members in sessions.values() for row in _with_rivals(_with_agent(members))]
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[str, int, str, int, str, str]:
    return row.patient, row.day or 0, row.session, row.series.header.series_number or 0, row.series.part, row.key


def _with_days(rows: list[Row]) -> list[Row]:
    dates: dict[str, list[date]] = defaultdict(list)
    for row in rows:
        day = _date(row.series.header.study_date)
        if day is not None:
            dates[row.patient].append(day)
    counted = []
    for row in rows:
        day = _date(row.series.header.study_date)
        counted.append(replace(row, day=None if day is None else (day - min(dates[row.patient])).days))
    return counted


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def _with_agent(members: list[Row]) -> list[Row]:
    """Doubt a T1 of which nothing says if agent was given, but for one before the first series with agent.

    Where the scanner recorded the agent later in the session, it would have recorded it here too.
    """
    recorded = any(row.recognition.agent_tag for row in members)
    given = [row.series.header.series_number for row in members if row.recognition.agent_given]
    first = min((number for number in given if number is not None), default=None) if recorded else None
    settled = []
    for row in members:
        number = row.series.header.series_number
        unknown = row.recognition.sequence is Sequence.T1 and not row.recognition.agent_known
        if unknown and (first is None or number is None or number >= first):
            row = replace(row, doubts=(*row.doubts, UNKNOWN_AGENT))
        elif unknown:
            sure = row.recognition.confidence
            sure = Confidence.MEDIUM if sure is Confidence.HIGH else sure
            notes = (*row.recognition.notes, "no agent in its tags, and it precedes the first series with agent")
            row = replace(row, recognition=replace(row.recognition, notes=notes, confidence=sure))
        settled.append(row)
    return settled


def _with_rivals(members: list[Row]) -> list[Row]:
    """Doubt every candidate of a sequence that a session has twice: which is meant is the hospital's to say."""
    named = Counter(row.recognition.sequence for row in members if not row.problems)
    settled = []
    for row in members:
        sequence = row.recognition.sequence
        if sequence is not None and not row.problems and named[sequence] > 1:
            row = replace(row, doubts=(*row.doubts, f"one of {named[sequence]} candidates for {sequence}"))
        settled.append(row)
    return settled


def _recognise_all(series: Series) -> Recognition:
    """Return what a series is, doubted where its slices were labelled as different things."""
    distinct = {(each.labels, each.agent, each.agent_ml, each.body_part): each for each in series.slices}
    heard = [recognise(header) for header in distinct.values()]
    if len({each.sequence for each in heard}) == 1:
        return heard[0]
    return replace(heard[0], sequence=None, confidence=Confidence.LOW, doubts=("its slices are labelled differently",))
