"""Names of sites, studies and consortia become folders and parameters: every door lets the same ones in."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from client.config import SiteConfig
from common.identity.card import ConsortiumCard
from common.identity.request import Request
from common.records import Answer
from common.roster_file import Roster
from common.secure.messages import Advert
from common.study import Study
from server.consortium.revoked import RevokedKey
from server.consortium.settings import ConsortiumSettings
from simulations.scenario import Hospital, Scenario

NAMED = (SiteConfig, ConsortiumCard, Request, Study, ConsortiumSettings, Hospital, Scenario)
DOORS = (*((model, "name") for model in NAMED), *((model, "site") for model in (Answer, Advert, RevokedKey)))


def said_of(model: type[BaseModel], field: str, name: object) -> list[str]:
    """Return what is said of this one field; the others are missing."""
    try:
        model.model_validate_json(json.dumps({field: name}), strict=True)
    except ValidationError as error:
        return [problem["msg"] for problem in error.errors() if problem["loc"][0] == field]
    return []


@pytest.mark.parametrize(("model", "field"), DOORS)
def test_every_door_lets_the_same_names_in(model: type[BaseModel], field: str) -> None:
    for good in ("a", "0", "hospital-a", "a" * 63):
        assert said_of(model, field, good) == []
    for bad in ("", "A", "-a", "a_b", "../a", "a\n", "é", "\x1b[31m", "a" * 64):
        said = f"Value error, {bad!r} must be lower-case letters, digits and hyphens, 63 at most"
        assert said_of(model, field, bad) == [said]


def test_sites_in_lists_and_tables_are_named_alike() -> None:
    assert "'B' must be lower-case letters" in said_of(Study, "sites", ["a", "B"])[0]
    assert "'B' must be lower-case letters" in said_of(Roster, "sites", {"B": {"node": 1}})[0]
