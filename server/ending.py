"""How a run ends: a complete one says so again when it is resumed, a stopped one tells its sites."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import RecordDict
from flwr.app.message_type import MessageType

from common.errors import GliofedError
from common.logs import logger
from common.records import STOP, TASK, StopOrder, pack_text
from common.release import load_release
from common.settings.stages import Stage
from server.contract import contract_of
from server.exchange import Exchange
from server.journal import Journal
from server.result import COMPLETE, RunResult, SiteFault
from server.withdrawn_patients import note_withdrawn

log = logger(__name__)

STOP_PATIENCE_S = 10.0
"""How long a stopped run waits for the sites to say that they have heard it."""


def finished_result(journal: Journal) -> RunResult | None:
    """Return the result of a run that is complete and whose release is whole, else None."""
    ended = journal.ended()
    if ended is None or ended["status"] != COMPLETE:
        return None
    try:
        release = load_release(journal.out / "release")
    except GliofedError:
        return None
    if release.digest != ended["release_digest"]:
        return None
    faults = tuple(
        SiteFault(fault["site"], fault["code"], fault["stage"] and Stage(fault["stage"]), fault["round"])
        for fault in ended["faults"]
    )
    return RunResult(
        COMPLETE, journal.run, journal.out, release.path, release.digest, None, faults, contract_of(journal)
    )


def stop_sites(exchange: Exchange, journal: Journal, nodes: Mapping[str, int]) -> None:
    """Tell every site that the run is over, busy ones too; who does not hear it is logged."""
    order = RecordDict({TASK: pack_text(StopOrder(run=journal.run))})
    heard = exchange.tell(dict.fromkeys(nodes.values(), order), f"{MessageType.QUERY}.{STOP}", STOP, STOP_PATIENCE_S)
    for site, node in sorted(nodes.items()):
        note_withdrawn(journal, site, heard.get(node))
        if node not in heard:
            log.warning("%s has not said that it stopped; it finishes its round, which counts nowhere", site)
