"""One round whose updates the coordinator learns as a sum only: five phases, each with a deadline, resumable at each.

train → shares → masked → agree → unmask (`common.secure.messages`). A site may leave at any of them. Too few sites
before `unmask` end the attempt, and the next one has fresh keys; from `unmask` on the survivors are fixed, for they
have begun to open the sum, and only their own answers can finish it, now or when the run is resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import RecordDict
from flwr.app.message_type import MessageType

from common.errors import FederationError
from common.logs import logger
from common.parameters import NORMS, StateDict, by_group, group_of
from common.records import OK, SITS_OUT, Declared, WireError, pack_text, size_bytes
from common.secure.given import attempt_of, given_by
from common.secure.groups import masked_groups
from common.secure.messages import (
    AGREE,
    ATTEMPT,
    MASKED,
    SHARES,
    UNMASK,
    Advert,
    Adverts,
    AttemptNumber,
    Boxes,
    Signatures,
    Signed,
    Survivors,
    agreed_bytes,
)
from common.study import Study
from server.aggregation.secret_shares import Opened, ShareBook, SharesMissingError
from server.aggregation.secure import MaskedSum
from server.events import Listener, SiteAnswered, ignore
from server.result import SiteFault
from server.round.one_round import OneRound
from server.round.outcome import Outcome
from server.secure.answers import SecureAnswers
from server.secure.outcome import SUM, SecureOutcome
from server.secure.phase import Phase, good_answer
from server.secure.transcript import Agreed, Masked, Shares, Shown, Traffic, Trained, Transcript

log = logger(__name__)


class SecureSumError(FederationError):
    """A round's sum cannot be opened; no site's update was. `left` holds the sites that failed, with their codes."""

    def __init__(self, message: str, left: Mapping[str, str]) -> None:
        super().__init__(message)
        self.left = left


class _AttemptOverError(Exception):
    """Too few sites are left before anything was revealed, for some have `left`; another attempt may follow."""

    def __init__(self, message: str, left: Mapping[str, str]) -> None:
        super().__init__(message)
        self.left = left


@dataclass(frozen=True)
class SecureRound:
    """The secure form of a round that starts from the global `tensors`.

    Attributes:
        pinned: public keys by site, from the coordinator's roster.
    """

    one: OneRound
    tensors: StateDict
    pinned: Mapping[str, str | None]

    def play(self, on_event: Listener = ignore) -> Outcome:
        """Play the phases that are not on disk yet and return the sum as one update, heads in clear as others.

        Raises:
            SecureSumError: where too few sites stay, in every attempt that the study allows; who left the last one is
                in the journal.
        """
        try:
            return self._play(on_event)
        except SecureSumError as error:
            for site, code in sorted(error.left.items()):
                self.one.journal.note_fault(SiteFault(site, code, self.one.model.stage, self.one.number))
            raise

    def _play(self, on_event: Listener) -> Outcome:
        reason, left = "", dict[str, str]()
        for _ in range(self.study.secure_aggregation.attempts):
            transcript = Transcript.latest(self.one.journal.out, self.one.model.stage, self.one.number)
            try:
                outcome = _Attempt(self, transcript).play()
            except _AttemptOverError as over:
                reason, left = str(over), dict(over.left)
                log.warning("%s: attempt %d is over: %s", self.name, transcript.attempt, reason)
                transcript.abandon(reason)
            else:
                self._tell(outcome, on_event)
                return outcome
        raise SecureSumError(f"{self.name}: no secure sum: {reason}", left)

    @property
    def name(self) -> str:
        """The round, as errors name it."""
        return f"{self.one.model.stage} round {self.one.number}"

    @property
    def study(self) -> Study:
        """The study."""
        return self.one.journal.study

    @property
    def sent(self) -> StateDict:
        """What the sites start from: norms are those of the stage's beginning, for whoever begins and whenever.

        So all sites began with the same, and can say so to each other.
        """
        model = self.one.model
        return {
            name: model.initial[name] if group_of(name, model.grouping) == NORMS else tensor
            for name, tensor in self.tensors.items()
        }

    @property
    def needed(self) -> int:
        """How many sites must be left at each phase."""
        return self.study.secure_aggregation.needed(len(self.study.sites))

    def _tell(self, outcome: Outcome, on_event: Listener) -> None:
        """Write down who failed, and say of everybody how it went."""
        for fault in outcome.faults:
            self.one.journal.note_fault(fault)
        for site, entry in outcome.sites.items():
            on_event(SiteAnswered(self.one.model.stage, self.one.number, site, entry["code"]))


class _Attempt:
    """One attempt, phase by phase; each is read from disk where it is over."""

    def __init__(self, of: SecureRound, transcript: Transcript) -> None:
        self.of, self.transcript, self.one, self.settings = of, transcript, of.one, of.study.secure_aggregation
        self.answers = SecureAnswers(of.one.model, of.pinned)

    def play(self) -> Outcome:
        """Play what is left of the attempt."""
        trained = self.transcript.read(Trained) or self._train()
        self.adverts, self.attempt = trained.adverts, trained.adverts.adverts[0].attempt
        shares = self.transcript.read(Shares) or self._share()
        dealers = tuple(sorted(shares.dealt))
        masked = self.transcript.read(Masked) or self._mask(shares, dealers)
        book = ShareBook(self.adverts, shares.dealt, masked.survivors, self.of.needed)
        opened = self._unmask(self._agree(dealers, masked), book)
        summed = MaskedSum(
            adverts=self.adverts,
            dealers=dealers,
            survivors=masked.survivors,
            words=self.transcript.words,
            cap=self.of.study.federation.weight_cap_patients,
            fraction_bits=self.settings.fraction_bits,
        )
        path = self.transcript.keep_tensors(SUM, summed.mean(opened, self._layout()))
        traffic = (shares.traffic, masked.traffic)
        outcome = SecureOutcome(self.one.model.stage, self.one.number, self.transcript, summed, trained, traffic)
        return outcome.outcome(path)

    def _train(self) -> Trained:
        """Ask every site to train; another attempt would not help where too few can."""
        by_node = {node: site for site, node in self.one.asked.items()}
        adverts: dict[str, Advert] = {}
        entries: dict[str, dict[str, Any]] = {}

        def satisfied() -> bool:
            enough = self.one.lacking(set(adverts), set(_sat_out(entries))) is None
            return enough and len(adverts) >= self.of.needed

        beside = {ATTEMPT: pack_text(AttemptNumber(attempt=self.transcript.attempt))}
        asked = self.one.ask(self.of.sent, beside, satisfied)
        attempt = attempt_of(asked.task, self.transcript.attempt)
        for reply, bytes_down in asked.replies:
            site = by_node[reply.node]
            given = given_by(asked.task, asked.groups[site])
            try:
                adverts[site], entries[site] = self.answers.advert(site, good_answer(site, reply), attempt, given)
            except WireError as error:
                entries[site] = {"code": error.code}
            if withdrawn := entries[site].pop("withdrawn", 0):
                self.one.note_withdrawn(site, withdrawn)
            up = size_bytes(reply.content) if reply.content is not None else 0
            entries[site] |= {"bytes_down": bytes_down, "bytes_up": up, "seconds": round(reply.seconds, 3)}
        if len(adverts) < self.of.needed:
            codes = ", ".join(f"{site}: {entry['code']}" for site, entry in sorted(entries.items()))
            raise SecureSumError(
                f"{self.of.name}: a secure sum needs {self.of.needed} sites, {len(adverts)} trained ({codes})",
                {site: entry["code"] for site, entry in entries.items() if entry["code"] not in {OK, *SITS_OUT}},
            )
        shown = Adverts(adverts=tuple(adverts[site] for site in sorted(adverts)))
        trained = Trained(adverts=shown, entries=entries, sat_out=_sat_out(entries))
        self.transcript.keep(trained)
        return trained

    def _share(self) -> Shares:
        content = RecordDict({SHARES: pack_text(self.adverts)})
        dealt, traffic = self._phase(SHARES, dict.fromkeys(self.adverts.by_site, content)).collect(
            lambda site, answer: self.answers.dealt(site, answer, self.adverts)
        )
        self._require(len(dealt), "dealt shares", traffic)
        shares = Shares(dealt=dealt, traffic=traffic)
        self.transcript.keep(shares)
        return shares

    def _mask(self, shares: Shares, dealers: tuple[str, ...]) -> Masked:
        """Ask the dealers for their masked numbers: those whose numbers come survive."""

        def keep(site: str, answer: RecordDict) -> Signed:
            words, heads, signed = self.answers.masked(site, answer, self.adverts, dealers)
            self.transcript.keep_words(site, words)
            if heads:
                self.transcript.keep_tensors(site, heads)
            return signed

        boxes = {site: {dealer: shares.dealt[dealer].boxes[site] for dealer in dealers} for site in dealers}
        contents = {
            site: RecordDict({MASKED: pack_text(Boxes(attempt=self.attempt, boxes=mine))})
            for site, mine in boxes.items()
        }
        kept, traffic = self._phase(MASKED, contents).collect(keep)
        self._require(len(kept), "sent masked numbers", traffic)
        masked = Masked(against=kept, traffic=traffic)
        if not masked_groups(self.adverts, masked.survivors):
            raise _AttemptOverError("no parameter group is held by three survivors", traffic.left)
        self.transcript.keep(masked)
        return masked

    def _agree(self, dealers: tuple[str, ...], masked: Masked) -> Agreed:
        """Let the survivors sign the list of survivors; those that have need not again."""
        before = self.transcript.read(Agreed) or Agreed()
        signed = agreed_bytes(self.adverts, dealers, masked.survivors)
        against = {site: each.signature for site, each in masked.against.items()}
        content = RecordDict({AGREE: pack_text(Survivors(attempt=self.attempt, signatures=against))})
        missing = [site for site in masked.survivors if site not in before.agreements]
        new, traffic = self._phase(AGREE, dict.fromkeys(missing, content)).collect(
            lambda site, answer: self.answers.agreement(site, answer, signed)
        )
        agreed = Agreed(agreements=before.agreements | new)
        self._require(len(agreed.agreements), "signed the list of survivors", traffic)
        self.transcript.keep(agreed)
        return agreed

    def _unmask(self, agreed: Agreed, book: ShareBook) -> Opened:
        """Ask for shares until they open the sum; what was shown in an earlier try is not asked for again."""
        signatures = {site: signed.signature for site, signed in sorted(agreed.agreements.items())}
        content = RecordDict({UNMASK: pack_text(Signatures(attempt=self.attempt, signatures=signatures))})
        shown = self.transcript.read(Shown) or Shown()
        self.transcript.keep(shown)
        reason, left = "", dict[str, str]()
        for _ in range(1 + self.settings.attempts):
            try:
                return book.open(shown.revealed)
            except SharesMissingError as missing:
                reason = str(missing)
            asked = [site for site in signatures if site not in shown.revealed]
            new, traffic = self._phase(UNMASK, dict.fromkeys(asked, content)).collect(
                lambda site, answer: self.answers.revealed(site, answer, book)
            )
            shown, left = Shown(revealed=shown.revealed | new), traffic.left
            self.transcript.keep(shown)
        raise SecureSumError(
            f"{self.of.name}: the sum cannot be opened: {reason}; resume the run once more survivors are back",
            left,
        )

    def _layout(self) -> dict[str, dict[str, Declared]]:
        declared = {name: each for name, each in self.one.model.gate.declared.items() if each.is_floating}
        groups = by_group(declared, self.one.model.grouping)
        return {group: {name: declared[name] for name in names} for group, names in groups.items()}

    def _phase(self, name: str, contents: Mapping[str, RecordDict]) -> Phase:
        return Phase(
            exchange=self.one.exchange,
            message_type=f"{MessageType.TRAIN}.{name}",
            group=f"{self.one.model.stage}-{self.one.number}",
            deadline_s=self.settings.phase_deadline_s,
            nodes=self.one.asked,
            contents=contents,
            needed=self.of.needed,
        )

    def _require(self, sites: int, what: str, traffic: Traffic) -> None:
        """End the attempt where too few sites are left, unless shares have been shown."""
        if sites < self.of.needed and self.transcript.read(Shown) is None:
            raise _AttemptOverError(f"{sites} sites {what}, {self.of.needed} must", traffic.left)


def _sat_out(entries: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the sites that answered well and bring nothing to the stage, sorted."""
    return tuple(site for site, entry in sorted(entries.items()) if entry["code"] in SITS_OUT)
