"""Heads that one site owns hide in no sum: they stay, unless the site's policy or private training lets them leave."""

from __future__ import annotations

import pytest
import torch

from client.config import Policy
from client.privacy.masking_state import KeptUpdate, MaskingFolder
from client.privacy.outbound import Outgoing, allow_sum
from common.parameters import Grouping
from common.spent import Spent

HEAD = "domain/a:T1"


@pytest.fixture
def spent():
    return Spent(delta=1e-5, steps=10, stage_epsilon=1.0, study_epsilon=1.5)


def outgoing(spent=None):
    tensors = {"trunk.weight": torch.ones(2), "heads.a:T1.weight": torch.ones(3)}
    return Outgoing(tensors, {"shared": 7, HEAD: 5}, {"training.loss": 0.5}, ("held_out.mae",), spent)


def test_a_head_stays_by_default_and_is_named():
    allowed = allow_sum(outgoing(), Grouping(), Policy())
    assert set(allowed.tensors) == {"trunk.weight"} and allowed.patients == {"shared": 7}
    assert allowed.withheld == ("held_out.mae", HEAD) and allowed.metrics == {"training.loss": 0.5}


def test_a_head_leaves_by_the_sites_own_policy():
    update = outgoing()
    assert allow_sum(update, Grouping(), Policy(single_owner_heads_in_clear=True)) is update


def test_a_head_that_was_trained_privately_leaves_with_what_it_cost(spent):
    update = outgoing(spent)
    assert allow_sum(update, Grouping(), Policy()) is update


def test_what_a_private_round_cost_is_kept_with_its_update(secure, spent):
    folder = MaskingFolder.of(secure.root, secure.attempt_of())
    kept = KeptUpdate(outgoing(spent), {"shared": ("trunk.weight",), HEAD: ("heads.a:T1.weight",)})
    received, policy = {"shared": "3" * 64}, "f" * 64
    folder.keep_update(kept, received, policy, "c" * 64)
    again = folder.update(received, policy, "c" * 64)
    assert again.outgoing.spent == spent and set(again.by_group()) == {"shared", HEAD}
    assert folder.update({"shared": "4" * 64}, policy) is None
    assert folder.update(received, policy, "d" * 64) is None, "other cases are trained on anew"
    assert folder.update(received, "e" * 64) is None, "another policy may not let it leave"
    assert folder.update(received, None) is not None
