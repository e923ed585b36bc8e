"""A site by itself is the federation of one: the same rounds give the same weights as a study of that site alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from client.assessment.alone import train_alone
from common.assessment.request import AssessmentRequest
from common.parameters import group_of, grouping_of
from common.plan import Plan
from common.release import load_release
from common.sequences import Sequence
from common.settings.stages import Stage


def test_the_weights_are_those_of_a_federation_of_that_site(tiny: SimpleNamespace) -> None:
    consortium: Any = tiny.consortium.add("a", 3, [Sequence.T1, Sequence.T2]).add("b", 2, [Sequence.T2], shift=0.3)
    both, one = tiny.make_study(), tiny.make_study(("a",))
    site = tiny.open_cached(consortium.sites["a"], both)
    inventory = tuple(tiny.open_cached(consortium.sites[name], both).inventory for name in ("a", "b"))
    request = AssessmentRequest(
        run="0" * 16,
        study=both,
        study_digest=both.digest,
        plan=Plan(study_digest=both.digest, inventory=inventory),
        weights={Stage.GENERATOR: "0" * 64},
    )
    alone = train_alone(site, request, site.training, tiny.bench)[Stage.GENERATOR]
    again = train_alone(site, request, site.training, tiny.bench)[Stage.GENERATOR]
    del consortium.sites["b"]
    release = load_release(consortium.run(one, out="one").out)
    federated = release.tensors(Stage.GENERATOR)
    grouping = grouping_of(alone)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), "a repeated training ends in the same bytes"
        if tensor.is_floating_point() and group_of(name, grouping) != "local":
            torch.testing.assert_close(tensor, federated[name], msg=name)
