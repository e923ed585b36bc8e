"""What people at the coordinator do to a run from another process: look, pause, resume, stop, withdraw."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import FederationError, StudyError
from server.consortium.folder import consortium_of
from server.contract import contract_of
from server.journal import Journal
from server.journal.requests import Request
from server.operation.launch import resubmit
from server.result import COMPLETE, STOPPED


def pause(out: Path) -> str:
    """Let the run stand still at its next safe point. Raises FederationError where it is over."""
    with Journal.look_into(out) as journal:
        _refuse_if_over(journal)
        journal.requests.add(Request.PAUSE)
        return _when(journal, "pauses")


def stop(out: Path) -> str:
    """End the run at its next safe point, for good, at the sites as well. Raises FederationError where it is over."""
    with Journal.look_into(out) as journal:
        _refuse_if_over(journal)
        journal.requests.add(Request.STOP)
        return _when(journal, "stops")


def resume(out: Path, superlink: str | None, app: Path) -> str:
    """Lift a pause; where nobody drives the run, submit it to its SuperLink again.

    A run in a consortium's folder goes to that consortium's SuperLink, unless another is named. A run that was stopped
    while nobody drove it does nothing more than tell its sites.

    Raises:
        FederationError: where the run is over, or nobody drives it and no SuperLink is named.
    """
    with Journal.look_into(out) as journal:
        if not _stop_is_untold(journal):
            _refuse_if_over(journal)
        if journal.requests.asked().paused:
            journal.requests.add(Request.RESUME)
        if journal.driven:
            return f"run {journal.run} goes on"
    if superlink is None and (home := consortium_of(out)) is not None:
        from server.operation.starting import resume_hosted

        return resume_hosted(home, out)
    if superlink is None:
        raise FederationError(
            f"{out}: nobody drives the run; name its SuperLink (--superlink NAME), "
            "or go on with a simulation by `gliofed-sim run STUDY --out RUN --resume`"
        )
    return resubmit(out, superlink, app)


def withdraw(out: Path, site: str, patients: int | None = None) -> dict[str, Any]:
    """Leave a site out of every later round; return the rounds and releases that it touched.

    With `patients`, note instead that so many of its patients, all told, are withdrawn by now: a site says so with its
    answers, but nobody asks it once the run is over.

    Raises:
        StudyError: where the study does not name the site.
    """
    with Journal.look_into(out) as journal:
        if site not in journal.study.sites:
            raise StudyError(f"{site}: not a site of the study, which names {', '.join(journal.study.sites)}")
        if patients is None:
            journal.requests.withdraw_site(site)
            journal.copy_withdrawals()
        else:
            journal.note_withdrawn(site, patients)
        return [
            each
            for each in journal.withdrawn()
            if each["site"] == site and (each["patients"] is None) == (patients is None)
        ][-1]


def status(out: Path) -> dict[str, Any]:
    """Return where a run stands, as plain values."""
    with Journal.look_into(out) as journal:
        asked, ended, current = journal.requests.asked(), journal.ended(), journal.open_round()
        stage, number, accepted = current or (None, None, ())
        settings = journal.study.stages.of(stage) if stage is not None else None
        driven = journal.driven
        return {
            "run": journal.run,
            "study": journal.study.name,
            "state": state_of(driven, asked.paused, asked.stopped, ended),
            "reason": ended["reason"] if ended is not None and not driven else None,
            "driven": driven,
            "control": asdict(asked),
            "stage": stage.value if stage is not None else None,
            "round": number,
            "rounds": settings.rounds if settings is not None else None,
            "accepted": list(accepted),
            "contract": asdict(contract_of(journal)),
            "faults": [
                {"site": fault.site, "code": fault.code, "stage": fault.stage, "round": fault.round, "at": at}
                for fault, at in journal.noted_faults()
            ],
            "withdrawals": journal.withdrawn(),
            "releases": journal.releases(),
        }


def state_of(driven: bool, paused: bool, stopped: bool, ended: dict[str, Any] | None) -> str:
    """Return one word for where a run stands."""
    if driven:
        return "stopping" if stopped else "paused" if paused else "running"
    return str(ended["status"]) if ended is not None else "interrupted"


def _stop_is_untold(journal: Journal) -> bool:
    """Return whether a stop was asked for that nobody has acted on, so that the sites do not know of it."""
    ended = journal.ended()
    told = ended is not None and (ended["status"] == COMPLETE or ended["reason"] == STOPPED)
    return journal.requests.asked().stopped and not told and not journal.driven


def _refuse_if_over(journal: Journal) -> None:
    ended = journal.ended()
    if ended is not None and ended["status"] == COMPLETE:
        raise FederationError(f"run {journal.run} is complete; there is nothing to do")
    if journal.requests.asked().stopped:
        raise FederationError(f"run {journal.run} was stopped, which is for good; begin a new one in another folder")


def _when(journal: Journal, what: str) -> str:
    if journal.driven:
        return f"run {journal.run} {what} at its next safe point"
    return f"run {journal.run} {what} as soon as somebody drives it; nobody does now: `gliofed-server resume RUN`"
