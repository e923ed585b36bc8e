"""What a secure sum leaves of a round: the sum as one update, heads in clear as others, an entry for each site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.parameters import DOMAIN_PREFIX
from common.records import OK, SITS_OUT
from common.settings.stages import Stage
from server.aggregation.secure import MaskedSum
from server.aggregation.weighted import SpooledUpdate
from server.result import SiteFault
from server.round.outcome import Outcome
from server.secure.transcript import Traffic, Trained, Transcript

SUM = "sum"
"""Name of the one update that a secure sum becomes; the aggregation takes it as it would a site's."""

NOT_IN_SUM = "not-in-sum"
"""Code of a survivor none of whose groups can be opened, for fewer than three survivors hold them."""


@dataclass(frozen=True)
class SecureOutcome:
    """One opened sum."""

    stage: Stage
    number: int
    transcript: Transcript
    summed: MaskedSum
    trained: Trained
    traffic: tuple[Traffic, ...]

    def outcome(self, sum_path: Path) -> Outcome:
        """Return the round's outcome; faults are the sites that were asked and are not in the sum."""
        outcome = Outcome(sat_out=set(self.trained.sat_out))
        outcome.updates.append(SpooledUpdate(SUM, sum_path, self.summed.patients()))
        for site, entry in sorted(self.trained.entries.items()):
            full = self._entry(site, entry)
            outcome.sites[site] = full
            if full["code"] not in {OK, *SITS_OUT}:
                outcome.faults.append(SiteFault(site, full["code"], self.stage, self.number))
            heads = self.transcript.clear(site)
            if full["code"] == OK and heads is not None:
                outcome.updates.append(SpooledUpdate(site, heads, _heads(full["patients"])))
        return outcome

    def _entry(self, site: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return a site's entry with the bytes of all phases: what it contributed, or the code with which it left."""
        full = dict(entry)
        for traffic in self.traffic:
            full["bytes_down"] += traffic.bytes_down.get(site, 0)
            full["bytes_up"] += traffic.bytes_up.get(site, 0)
        if entry["code"] != OK:
            return full
        kept = {key: full[key] for key in ("bytes_down", "bytes_up", "seconds")}
        for traffic in self.traffic:
            if site in traffic.left and site not in self.summed.survivors:
                return {"code": traffic.left[site], **kept}
        patients = self._contributed(site)
        return {**full, "patients": patients} if patients else {"code": NOT_IN_SUM, **kept}

    def _contributed(self, site: str) -> dict[str, int]:
        """Return the patients behind each group of a site that was summed or came in clear."""
        advertised = self.summed.adverts.by_site[site].patients
        heads = _heads(advertised) if self.transcript.clear(site) is not None else {}
        return {group: count for group, count in advertised.items() if group in self.summed.groups or group in heads}


def _heads(patients: Mapping[str, int]) -> dict[str, int]:
    return {group: count for group, count in patients.items() if group.startswith(DOMAIN_PREFIX)}
