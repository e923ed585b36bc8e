"""Sums over sites that mask, leave and reveal: equal to the plain mean, group by group, over who survived."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from client.privacy.masking_checks import MaskingRefusalError
from common.secure.fixed_point import decode, encode
from server.aggregation.secret_shares import ShareBook, SharesMissingError

UNIT = 2.0**-24


def close(found, expected, sites, share=1.0):
    """Half a unit a site, over the survivors' share, and the last bit of float32."""
    return torch.allclose(found.double(), expected, rtol=2.0**-23, atol=sites / 2 * UNIT / share)


def test_five_sites_without_loss_give_the_plain_mean(secure):
    total = secure.make(5)
    assert close(total.play()["shared"], total.plain(total.sites), 5)


def test_two_of_five_sites_may_leave_at_any_phase(secure):
    for number, lost in enumerate(
        [
            {"deal": ["s0", "s4"]},
            {"mask": ["s1", "s3"]},
            {"deal": ["s2"], "mask": ["s0"]},
            {"agree": ["s0", "s1"]},
            {"reveal": ["s3", "s4"]},
            {"mask": ["s2"], "reveal": ["s1"]},
        ]
    ):
        total = secure.make(5).move_to(secure.root / str(number), secure.attempt_of())
        found = total.play(**lost)["shared"]
        gone = {*lost.get("deal", ()), *lost.get("mask", ())}
        assert close(found, total.plain(set(total.sites) - gone), 5, share=0.3), lost


def test_random_losses_give_the_plain_mean_or_nothing(secure):
    """Whoever leaves wherever: the mean of those whose numbers came, or a refusal, never another number."""
    lots = np.random.default_rng(7)
    seen = set()
    for number in range(12):
        total = secure.make(5 + number % 3, size=4, needed=4)
        total.move_to(secure.root / str(number), secure.attempt_of())
        lost = {phase: [name for name in total.sites if lots.random() < 0.15] for phase in ("deal", "mask", "reveal")}
        try:
            found = total.play(**lost)["shared"]
        except (MaskingRefusalError, SharesMissingError):
            seen.add("nothing")
            continue
        seen.add("a mean")
        assert close(found, total.plain(total.words), 7, share=0.2), lost
    assert seen == {"a mean", "nothing"}


def test_a_group_is_summed_over_the_sites_that_hold_it(secure):
    total = secure.make(5, groups={"statistics": (0, 2, 4)})
    found = total.play()
    assert close(found["statistics"], total.plain(("s0", "s2", "s4"), "statistics"), 3)
    assert close(found["shared"], total.plain(total.sites), 5)


def test_a_group_of_two_is_never_sent(secure):
    total = secure.make(4, groups={"statistics": (0, 1)})
    assert set(total.play()) == {"shared"}
    assert all(set(words) == {"shared"} for words in total.words.values())


def test_a_group_that_falls_to_two_holders_stays_shut(secure):
    total = secure.make(5, groups={"statistics": (0, 1, 2)})
    assert set(total.play(mask=["s2"])) == {"shared"}
    revealed = total.sites["s0"].folder.state().revealed
    assert all(set(seeds) == {"shared"} for seeds in revealed.self_seeds.values())


def test_a_site_weighs_no_more_than_the_cap(secure):
    total = secure.make(3, patients=5000)
    equal = sum(total.updates[name]["shared"].double() for name in total.sites) / 3
    assert close(total.play()["shared"], equal, 3)


def test_false_shares_are_told_from_true_ones(secure):
    total = secure.make(5)
    total.play()
    agreed = {name: site.folder.state().agreement for name, site in total.sites.items()}
    revealed = total.reveal(agreed)
    book = ShareBook(total.adverts, total.dealt, total.survivors.sites, total.needed)
    honest = revealed["s1"]
    seeds = {dealer: dict.fromkeys(each, "0" * 132) for dealer, each in honest.self_seeds.items()}
    assert not book.false_shares(honest)
    assert book.false_shares(honest.model_copy(update={"self_seeds": seeds}))


def test_a_dealer_that_advertised_another_key_is_named(secure):
    total = secure.make(5)
    total.advertise()
    total.deal()
    honest = total.adverts
    other = honest.by_site["s4"].model_copy(update={"mask_key": "ab" * 32})
    swapped = (*honest.adverts[:4], other)
    total.mask(lost=["s4"])
    revealed = total.reveal(total.agree())
    book = ShareBook(honest.model_copy(update={"adverts": swapped}), total.dealt, total.survivors.sites, total.needed)
    with pytest.raises(SharesMissingError, match="s4 dealt shares of another key"):
        book.open(revealed)


# ---- what the coordinator sees


def statistic(data: bytes) -> float:
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    return float(((counts - counts.mean()) ** 2 / counts.mean()).sum())


BOUND = float(chi2.isf(1e-11, 255))
"""Some twenty statistics are held against it: a false alarm in fewer than one of 10^9 runs."""


def test_every_message_that_hides_something_is_uniform_bytes(secure):
    total = secure.make(5, size=50_000)
    total.play(mask=["s3"])
    bare = encode(total.updates["s0"]["shared"].numpy(), 0.2, 24).tobytes()
    assert statistic(bare) > 100 * BOUND  # the statistic does tell a bare update
    for name, words in total.words.items():
        assert statistic(words["shared"].tobytes()) < BOUND, name
    boxes = b"".join(bytes.fromhex(box) for dealt in total.dealt.values() for box in dealt.boxes.values())
    keys = b"".join(bytes.fromhex(advert.cipher_key + advert.mask_key) for advert in total.adverts.adverts)
    assert len(boxes) > 3000 and statistic(boxes) < BOUND
    assert len(set(keys)) > 100


def test_sums_of_some_are_uniform_too_until_the_shares_open_the_sum_of_all(secure):
    total = secure.make(5, size=50_000)
    total.play()
    for some in (("s0", "s1"), ("s0", "s1", "s2"), ("s1", "s2", "s3", "s4"), tuple(total.sites)):
        partial = sum((total.words[name]["shared"] for name in some), start=np.zeros(50_000, dtype=np.uint32))
        assert statistic(partial.tobytes()) < BOUND, some


def test_opened_shares_of_the_survivors_uncover_no_single_site(secure):
    """With all that was revealed, one site's words stay uniform: the masks between pairs are still on."""
    total = secure.make(5, size=50_000)
    total.advertise(), total.deal(), total.mask()
    revealed = total.reveal(total.agree())
    opened = ShareBook(total.adverts, total.dealt, total.survivors.sites, 3).open(revealed)
    from common.secure.masks import add_mask

    for name, words in total.words.items():
        bare = words["shared"].copy()
        add_mask(bare, opened.self_seeds[name]["shared"], -1)
        assert statistic(bare.tobytes()) < BOUND, name
        assert np.abs(decode(bare, 1.0, 24)).mean() > 20  # not the small numbers of an update


def test_masked_numbers_weigh_no_more_than_float32(secure):
    total = secure.make(5, size=1000)
    total.play()
    assert {words["shared"].nbytes for words in total.words.values()} == {4000}
