"""Whether identifiers mean one person: what is in dispute is refused, since a key would join strangers or part one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from client.dicom.header import Header

TWO_PEOPLE = "its PatientID stands with two birth dates or sexes: two people, or a mistake; correct it in the archive"
HALF_ISSUED = "its PatientID stands with and without an issuer; give all objects of the patient the same"
SHARED_STUDY = "its study holds two PatientIDs; correct it in the archive"
SHARED_SERIES = "its SeriesInstanceUID stands in two studies or with two PatientIDs; correct it in the archive"


def disputes(headers: Iterable[Header]) -> dict[str, tuple[str, ...]]:
    """Return SeriesInstanceUID → why nobody can say whose series it is."""
    births: dict[tuple[str, str], set[str]] = defaultdict(set)
    sexes: dict[tuple[str, str], set[str]] = defaultdict(set)
    issuers: dict[str, set[str]] = defaultdict(set)
    owners: dict[str, set[tuple[str, str]]] = defaultdict(set)
    people: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for header in headers:
        person = (header.patient_id, header.issuer)
        births[person] |= {header.birth[0]} - {""}
        sexes[person] |= {header.birth[1]} - {""}
        issuers[header.patient_id].add(header.issuer)
        owners[header.study].add(person)
        people[header.series].add((header.study, *person))
    found: dict[str, tuple[str, ...]] = {}
    for series, members in people.items():
        problems = []
        persons = {member[1:] for member in members}
        if any(len(births[person]) > 1 or len(sexes[person]) > 1 for person in persons):
            problems.append(TWO_PEOPLE)
        if any("" in issuers[person[0]] and len(issuers[person[0]]) > 1 for person in persons):
            problems.append(HALF_ISSUED)
        if any(len(owners[member[0]]) > 1 for member in members):
            problems.append(SHARED_STUDY)
        if len(members) > 1:
            problems.append(SHARED_SERIES)
        if problems:
            found[series] = tuple(problems)
    return found
