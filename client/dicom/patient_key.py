"""The site's secret that turns identifiers into keys: the same patient gets the same key, and nobody can reckon back.

HMAC-SHA-256 over PatientID and IssuerOfPatientID, and over StudyInstanceUID. The key file is born at the site, is read
by its owner alone and never leaves; who loses it gives every patient a new key at the next import.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from common.errors import StudyError
from common.files import PRIVATE, read_at_most, write_whole

KEY_BYTES = 32


@dataclass(frozen=True, repr=False)
class PatientSecret:
    """The secret; `repr` does not show it."""

    secret: bytes

    def patient(self, patient_id: str, issuer: str) -> str:
        """Return a patient's name in BIDS, `sub-` and 20 hexadecimal digits."""
        return f"sub-{self._digest('patient', issuer, patient_id)[:20]}"

    def session(self, patient: str, study: str) -> str:
        """Return a study's name in BIDS, `ses-` and 16 hexadecimal digits."""
        return f"ses-{self._digest('session', patient, study)[:16]}"

    def series(self, series: str, objects: tuple[str, ...]) -> str:
        """Return the name of one volume, bound to the objects it is made of: `s-` and 16 hexadecimal digits."""
        return f"s-{self._digest('series', series, *sorted(objects))[:16]}"

    def _digest(self, purpose: str, *parts: str) -> str:
        # JSON keeps the parts apart: issuer "A" with "B1" is not issuer "AB" with "1".
        return hmac.new(self.secret, json.dumps([purpose, *parts]).encode(), hashlib.sha256).hexdigest()


def open_secret(path: Path) -> tuple[PatientSecret, bool]:
    """Return the site's secret, and whether it was born just now.

    Raises:
        StudyError: where the file is damaged, or others than its owner may read it.
    """
    born = not path.exists()
    if born:
        write_whole(path, secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n", PRIVATE)
    if path.stat().st_mode & 0o077:
        raise StudyError(f"{path}: others may read it; run chmod 600 on it, for it names every patient")
    text = read_at_most(path, 2 * KEY_BYTES + 2).decode("ascii", "replace").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
        raise StudyError(f"{path}: is no patient key; restore it from the backup, or every patient gets a new name")
    return PatientSecret(bytes.fromhex(text)), born
