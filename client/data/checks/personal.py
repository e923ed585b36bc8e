"""Names and dates of people in a NIfTI header, where conversion from DICOM tends to leave them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.data.checks.finding import Finding, Severity
from client.data.checks.reading import RawScan

DICOM_EXTENSION = 2
TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
HARMLESS = re.compile(r"PHANTOM gliofed \d+|FreeSurfer .*", re.IGNORECASE)
"""Descriptions whose digits are no one's date: the seed of a phantom, and FreeSurfer's own day of build."""

_MONTHS = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_YEAR, _MONTH, _DAY = r"(?:19[3-9]|20\d)\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
DATE = re.compile(
    rf"(?<![\d.]){_YEAR}([-/.]?){_MONTH}\1{_DAY}(?![\d.])"  # 2019-03-27, 20190327
    r"|(?<![\d.])\d{1,2}([-/.])\d{1,2}\2(?:19|20)\d\d(?!\d)"  # 27.03.2019, 3/27/2019
    rf"|(?<!\d)\d{{1,2}}[ -]{_MONTHS}[ -](?:19|20)?\d\d(?!\d)"  # 27-Mar-2019
    rf"|\b{_MONTHS} \d{{1,2}},? (?:[\d:]+ )?(?:[A-Z]{{3,4}} )?(?:19|20)\d\d(?!\d)",  # Mar 27, 2019
    re.IGNORECASE,
)
TIME = re.compile(r"time\s*[=:]\s*\d{6}(?:\.\d+)?(?!\d)|(?<![\d:.])[012]?\d:[0-5]\d:[0-5]\d(?![\d:])", re.IGNORECASE)
KEYED_NAME = re.compile(
    r"\b(?:patient|name|dob|birth|mrn)\w*\s*[=:]\s*(?!anonym|de-?id|n/?a\b|none|unknown|x+\b)[^\s;,=]+", re.IGNORECASE
)
DICOM_NAME = re.compile(r"[^\W\d_]{2,}\^[^\W\d_]+")
TITLED_NAME = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau)\.? [A-Z][a-z]+")
LISTED_NAME = re.compile(r"\b[A-Z][A-Za-z'-]+, ?[A-Z][a-z]+\b")
TWO_WORDS = re.compile(r"\b[A-Z][a-z]{2,} [A-Z][a-z]{2,}\b")

TECHNICAL = re.compile(
    r"\b(?:anat|atlas|attenuated|axial|bet|bias|brain|canon|cerebral|contrast|coronal|corrected|correction|diffusion|"
    r"dimension|double|echo|enhanced|enhancing|export|exported|fast|field|flair|float|fluid|free|full|gadolinium|"
    r"gradient|grayscale|grey|head|healthcare|image|images|insight|inversion|label|lesion|magnitude|map|mask|"
    r"mean|medical|normal|normalised|normalized|original|perfusion|phase|philips|post|pre|processed|raw|real|"
    r"recovery|registered|resampled|sagittal|scan|scanner|segmentation|sequence|siemens|single|skull|space|spin|"
    r"stripped|structural|surfer|symmetric|synthetic|systems|template|toolkit|toshiba|tumor|tumour|turbo|volume|"
    r"weighted)\b",
    re.IGNORECASE,
)
"""Capitalised words that are no one's name."""

SIDECAR_NAMES = re.compile(r"(?:Other)?Patients?(?:Name|ID|Address)\w*|\w*(?:Physician|Operator)\w*Name\w*")
SIDECAR_DATES = re.compile(r"\w+Date(?:Time)?")


def check_personal(scan: RawScan, case: str) -> list[Finding]:
    """Return findings for names, dates and times of day in the header, its extensions and a JSON sidecar.

    A date or what can only be a name is an error, since it identifies a patient; two capitalised words or a time of
    day are a warning.
    """
    findings = []
    for place, text in _texts(scan, case):
        severity, kind, word = judge(text)
        if severity is not None:
            text = f"{kind} in the {place}: {word!r}"
            remedy = "clear the field (e.g. with nibabel: image.header[...] = b'') or export de-identified files"
            findings.append(Finding(severity, case, scan.path, text, remedy, "personal"))
    return findings


def judge(text: str) -> tuple[Severity | None, str, str]:
    """Return the gravest thing that `text` gives away, its kind and the very words."""
    if HARMLESS.fullmatch(text):
        return None, "", ""
    for expression in (KEYED_NAME, DICOM_NAME, TITLED_NAME):
        if match := expression.search(text):
            return Severity.ERROR, "a name or an identifier", match[0]
    if match := DATE.search(text):
        return Severity.ERROR, "a date", match[0]
    for expression in (LISTED_NAME, TWO_WORDS):
        for match in expression.finditer(text):
            if not TECHNICAL.search(match[0]):
                return Severity.WARNING, "what may be a person's name", match[0]
    if match := TIME.search(text):
        return Severity.WARNING, "a time of day", match[0]
    return None, "", ""


def _texts(scan: RawScan, case: str) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of everything in and beside the header that can hold words."""
    for name in TEXT_FIELDS:
        if name in scan.header:  # NIfTI-2 dropped db_name
            yield f"header field {name}", bytes(scan.header[name].tobytes()).rstrip(b"\0").decode("latin-1").strip()
    for extension in scan.header.extensions:
        if extension.get_code() == DICOM_EXTENSION:
            yield "header extension", "PatientName=DICOM header carried along whole"
        else:
            yield "header extension", extension_text(extension)
    for key, value in read_sidecar(scan.path).items():
        if isinstance(value, str) and value not in case:  # a pseudonym that names the case gives nothing away
            if SIDECAR_NAMES.fullmatch(key):
                yield "JSON sidecar", f"name={value}"
            if SIDECAR_DATES.fullmatch(key):
                yield "JSON sidecar", value


def extension_text(extension: Any) -> str:
    """Return a header extension as text, whatever it holds; nibabel's own reading of it may raise anything."""
    return bytes(extension.content).decode("latin-1")


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the JSON object beside a scan (`x.json` for `x.nii.gz`), empty where there is none that can be read."""
    sidecar = path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", path.name))
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
