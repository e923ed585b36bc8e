"""Handing a run to the consortium's SuperLink: the signed bundle, and the run configuration that the plan binds."""

from __future__ import annotations

import json
from collections.abc import Mapping

from common.errors import FederationError, StudyError
from common.identity.signing import VerifyKey
from common.sequences import SITE_NAME
from common.study import code_version
from server.consortium.folder import Consortium
from server.hosting.bundle import BundleCard, read_bundle, unset_run_config
from server.hosting.hub import APP_ID
from server.hosting.superlink import flower_environment
from server.operation.launch import submit as hand_over

RESUME = "resume"


def planned_run_config(run: str, identifier_weights: str = "", start_from: str = "") -> dict[str, str | bool]:
    """Return the configuration under which a run of this name is submitted, every key of it that a plan binds.

    Its paths are relative to the consortium's folder, so that no path of the coordinator's is in a plan.

    Raises:
        StudyError: where `run` is no name, for it becomes a folder's.
    """
    if not SITE_NAME.fullmatch(run):
        raise StudyError(f"{run[:80]!r}: no name of a run; give lower-case letters, digits and hyphens")
    return {
        **{key: value for key, value in unset_run_config().items() if key != RESUME},
        "study": f"runs/{run}/study.toml",
        "out": f"runs/{run}",
        "roster": "roster.toml",
        "identifier_weights": identifier_weights,
        "start_from": start_from,
    }


def installed_bundle(consortium: Consortium) -> BundleCard:
    """Return the card of the consortium's bundle, which must hold the code that is installed here.

    Raises:
        StudyError: where there is none, or it is of other code.
        SignatureError: where it is not as it was signed.
    """
    card, _ = read_bundle(consortium.bundle, VerifyKey.load(consortium.signing_pub))
    if card.code_version != code_version():
        raise StudyError(
            f"{consortium.bundle}: is of GlioFed {card.code_version}, installed is {code_version()}; make a new one "
            "with `gliofed-server bundle`, and a new plan"
        )
    return card


def submit(consortium: Consortium, settings: Mapping[str, str | bool]) -> int:
    """Hand a run to the SuperLink, with the bundle that the consortium has signed; return Flower's number of it.

    Raises:
        StudyError: where there is no bundle, or it is of other code than is installed here.
        SignatureError: where the bundle is not as it was signed.
        FederationError: where Flower does not take it.
    """
    card = installed_bundle(consortium)
    app = f"{APP_ID}=={card.version}"
    said = hand_over(settings, consortium.settings.name, app, flower_environment(consortium))
    try:
        return int(json.loads(said[said.index("{") :])["run-id"])
    except (ValueError, KeyError, TypeError):
        raise FederationError(f"flwr run says nothing of a run: {said[-400:]}") from None
