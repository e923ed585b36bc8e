"""What a site refuses: keys that no pinned key signed, another version of anything, both secrets of one site."""

from __future__ import annotations

from dataclasses import replace

import pytest

from client.privacy.masking_checks import MaskingRefusalError
from client.privacy.masking_state import MaskingFolder, Rules
from common.secure.keys import SecureKeyError, public_key, seal, shared_secret, unseal
from common.secure.messages import Boxes
from common.secure.signatures import sign

RULES = Rules(needed=3, weight_cap_patients=1000, fraction_bits=24)


@pytest.fixture
def total(secure):
    """Five sites that have shown their keys."""
    made = secure.make(5)
    made.advertise()
    return made


def refusal(work) -> str:
    with pytest.raises(MaskingRefusalError) as caught:
        work()
    return caught.value.code


def with_advert(adverts, site, **changes):
    """The adverts, one of them changed."""
    changed = tuple(each.model_copy(update=changes) if each.site == site else each for each in adverts.adverts)
    return adverts.model_copy(update={"adverts": changed})


def with_other(adverts, other):
    """The adverts, that of one site replaced by another one of the same site."""
    changed = tuple(other if each.site == other.site else each for each in adverts.adverts)
    return adverts.model_copy(update={"adverts": changed})


# ---- keys


@pytest.mark.parametrize("which", ["cipher_key", "mask_key"])
def test_a_swapped_public_key_is_refused(total, which):
    swapped = with_advert(total.adverts, "s1", **{which: public_key(b"k" * 32).hex()})
    assert refusal(lambda: total.sites["s0"].deal(swapped)) == "unknown-signer"


def test_changed_counts_of_patients_are_refused(total):
    swapped = with_advert(total.adverts, "s1", patients={"shared": 1_000_000})
    assert refusal(lambda: total.sites["s0"].deal(swapped)) == "unknown-signer"


def test_keys_signed_by_a_stranger_under_a_members_name_are_refused(secure, total):
    stranger = secure.make(6).sites["s5"].key
    unsigned = total.adverts.by_site["s1"].model_copy(update={"mask_key": public_key(b"k" * 32).hex()})
    forged = with_advert(
        total.adverts, "s1", mask_key=unsigned.mask_key, signature=sign(stranger, unsigned.signed).hex()
    )
    assert refusal(lambda: total.sites["s0"].deal(forged)) == "unknown-signer"


def test_a_site_that_the_roster_does_not_name_is_refused(secure, total):
    del total.sites["s0"].pinned["s4"]
    assert refusal(lambda: total.sites["s0"].deal(total.adverts)) == "unknown-signer"


@pytest.mark.parametrize("change", [{"attempt": 2}, {"round": 2}, {"run": "f" * 16}, {"study_digest": "f" * 64}])
def test_a_replayed_key_message_of_another_sum_is_refused(secure, total, change):
    """It is signed as it should be, but for another sum."""
    elsewhere = secure.attempt_of(**change)
    masking = replace(total.sites["s1"], folder=MaskingFolder.of(secure.root / "elsewhere", elsewhere))
    replayed = masking.advertise(elsewhere, RULES, {"shared": 10}, total.received)
    adverts = with_other(total.adverts, replayed)
    assert refusal(lambda: total.sites["s0"].deal(adverts)) == "other-attempt"


@pytest.mark.parametrize(
    ("received", "refused"),
    [
        ({"shared": "e" * 64}, True),
        ({"shared": "3" * 64, "domain/s1:T1:lesion": "e" * 64}, False),
        ({"shared": "3" * 64, "domain/s2:T1:lesion": "e" * 64}, True),
        ({"shared": "3" * 64, "domain/s1:T1": "e" * 64}, True),
        ({"shared": "3" * 64, "plan": "e" * 64}, True),
        ({"shared": "3" * 64, "earlier/generator": "e" * 64}, True),
        ({"shared": "3" * 64, "norms": "e" * 64}, True),
        ({}, True),
    ],
)
def test_sites_that_were_given_different_models_are_not_summed(secure, total, received, refused):
    """What one site was given and the other was not is another model too; each has its own lesion twins to itself."""
    masking = replace(total.sites["s1"], folder=MaskingFolder.of(secure.root / "other-model", total.attempt))
    adverts = with_other(total.adverts, masking.advertise(total.attempt, RULES, {"shared": 10}, received))
    if refused:
        assert refusal(lambda: total.sites["s0"].deal(adverts)) == "other-model"
    else:
        assert total.sites["s0"].deal(adverts).site == "s0"


def test_a_second_set_of_keys_in_the_same_attempt_is_refused(total):
    total.sites["s0"].deal(total.adverts)
    fewer = total.adverts.model_copy(update={"adverts": total.adverts.adverts[:4]})
    assert refusal(lambda: total.sites["s0"].deal(fewer)) == "other-adverts"


def test_a_key_of_small_order_is_refused():
    with pytest.raises(SecureKeyError, match="small order"):
        shared_secret(b"k" * 32, bytes(32))


def test_two_sites_are_too_few(total):
    two = total.adverts.model_copy(update={"adverts": total.adverts.adverts[:2]})
    assert refusal(lambda: total.sites["s0"].deal(two)) == "too-few-sites"


# ---- boxes


def test_a_box_opens_for_its_receiver_sender_and_attempt_alone(secure):
    mine, theirs = b"a" * 32, b"b" * 32
    shared, attempt = shared_secret(mine, public_key(theirs)), secure.attempt_of()
    box = seal(shared, attempt, "s0", "s1", b"shares")
    assert unseal(shared_secret(theirs, public_key(mine)), attempt, "s0", "s1", box) == b"shares"
    for other in [
        (secure.attempt_of(2), "s0", "s1", box),
        (attempt, "s1", "s0", box),
        (attempt, "s0", "s1", box[:-1] + bytes([box[-1] ^ 1])),
    ]:
        with pytest.raises(SecureKeyError, match="not sealed"):
            unseal(shared, *other)


def test_masked_numbers_are_made_against_one_list_of_dealers(total):
    """The difference of two maskings against other dealers would be the mask of a pair."""
    total.deal()
    total.mask(lost=["s1", "s2", "s3", "s4"])
    boxes = total.boxes_for("s0")
    fewer = Boxes(attempt=total.attempt, boxes={name: box for name, box in boxes.boxes.items() if name != "s4"})
    assert refusal(lambda: total.sites["s0"].mask(fewer, total.groups_of("s0"))) == "other-dealers"


def test_spoilt_boxes_are_no_shares(total):
    total.deal()
    spoilt = {name: dealt.boxes | {"s0": "00" * 148} for name, dealt in total.dealt.items()}
    total.dealt = {name: dealt.model_copy(update={"boxes": spoilt[name]}) for name, dealt in total.dealt.items()}
    total.mask()
    revealed = total.reveal(total.agree())
    assert revealed["s0"].self_seeds == {} and len(revealed["s1"].self_seeds) == 5


# ---- survivors


@pytest.fixture
def masked(total):
    """Five sites whose masked numbers are in."""
    total.deal()
    total.mask()
    return total


def test_a_second_list_of_survivors_is_refused(masked):
    masked.sites["s0"].agree(masked.survivors)
    other = masked.listing("s0", "s1", "s2", "s3")
    assert refusal(lambda: masked.sites["s0"].agree(other)) == "other-survivors"


@pytest.mark.parametrize(
    ("sites", "code"),
    [
        (("s1", "s2", "s3"), "other-survivors"),
        (("s0", "s1", "s2", "stranger"), "other-survivors"),
        (("s0", "s1"), "too-few-sites"),
    ],
)
def test_a_list_without_the_site_with_strangers_or_too_short_is_refused(masked, sites, code):
    assert refusal(lambda: masked.sites["s0"].agree(masked.listing(*sites))) == code


def test_different_lists_for_different_sites_open_nothing(masked):
    """The coordinator tells three sites that s4 left and the others that it stayed: no list has enough signatures."""
    short = masked.listing("s0", "s1", "s2", "s3")
    agreed = {name: masked.sites[name].agree(short) for name in ("s0", "s1")}
    agreed |= {name: masked.sites[name].agree(masked.survivors) for name in ("s2", "s3", "s4")}
    for name in ("s0", "s1"):
        assert refusal(lambda site=masked.sites[name]: site.reveal(masked.signatures(agreed))) == "too-few-signatures"


def test_a_site_that_was_masked_against_sites_called_lost_is_not_summed(secure):
    """Else: s0 masks `rare` against s1 and s2 alone, both are called lost, and their mask keys lay s0 bare.

    All other lists hold enough sites and signatures, and three survivors hold the group.
    """
    total = secure.make(7, needed=4, groups={"rare": range(5)})
    total.advertise(), total.deal()
    everybody = total.dealt
    total.dealt = {name: everybody[name] for name in ("s0", "s1", "s2", "s5", "s6")}
    _, lonely = total.sites["s0"].mask(total.boxes_for("s0"), total.groups_of("s0"))
    total.dealt = everybody
    total.mask(lost=["s0"])
    total.against["s0"] = lonely
    survivors = total.listing("s0", "s3", "s4", "s5", "s6")
    for name in ("s3", "s4", "s5", "s6"):
        assert refusal(lambda site=total.sites[name]: site.agree(survivors)) == "other-dealers"


def test_signatures_of_too_few_survivors_reveal_nothing(masked):
    agreed = masked.agree()
    two = {name: agreed[name] for name in ("s0", "s1")}
    assert refusal(lambda: masked.sites["s0"].reveal(masked.signatures(two))) == "too-few-signatures"


def test_no_site_reveals_both_secrets_of_one_site(secure):
    total = secure.make(5)
    total.advertise(), total.deal(), total.mask(lost=["s4"])
    for revealed in total.reveal(total.agree()).values():
        assert set(revealed.mask_keys) == {"s4"} and set(revealed.self_seeds) == {"s0", "s1", "s2", "s3"}


def test_a_phase_cannot_be_left_out(total):
    total.deal()
    masking = total.sites["s0"]
    assert refusal(lambda: masking.agree(total.listing("s0", "s1", "s2"))) == "wrong-phase"
    assert refusal(lambda: masking.reveal(total.signatures({}))) == "wrong-phase"


# ---- again


def test_a_repeated_request_is_answered_with_the_same_bytes(masked):
    agreed, before = masked.agree(), dict(masked.words)
    for name, masking in masked.sites.items():
        shown = masking.advertise(masked.attempt, RULES, masked.patients[name], masked.received)
        assert shown == masked.adverts.by_site[name]
        assert masking.deal(masked.adverts) == masked.dealt[name]
        again, signed = masking.mask(masked.boxes_for(name), masked.groups_of(name))
        assert again["shared"].tobytes() == before[name]["shared"].tobytes() and signed == masked.against[name]
        assert masking.agree(masked.survivors) == agreed[name]
    first = masked.reveal(agreed)
    assert masked.reveal(agreed) == first


def test_a_new_attempt_has_new_keys_and_new_masks(secure, masked):
    before = {name: words["shared"].copy() for name, words in masked.words.items()}
    keys = {advert.mask_key for advert in masked.adverts.adverts}
    masked.attempt = secure.attempt_of(2)
    masked.advertise(), masked.deal(), masked.mask()
    assert not keys & {advert.mask_key for advert in masked.adverts.adverts}
    for name, words in masked.words.items():
        assert (before[name] != words["shared"]).mean() > 0.9
    assert masked.open(masked.reveal(masked.agree())).keys() == {"shared"}


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"attempt": 2}, {}),
        ({"run": "f" * 16}, {}),
        ({"global_sha256": "e" * 64}, {}),
        ({"run": "f" * 16, "global_sha256": "e" * 64}, {"shared": "e" * 64}),
        ({"attempt": 2}, {"plan": "e" * 64}),
        ({"attempt": 2}, {"earlier/generator": "e" * 64}),
    ],
)
def test_the_same_updates_are_summed_over_the_same_sites_or_not_at_all(secure, masked, change, received):
    """Two sums over different sites would differ by one site's update.

    Naming the run anew changes nothing, nor does sending weights or a plan that differ by less than matters.
    """
    masked.reveal(masked.agree())
    masked.received = {**masked.received, **received}
    masked.move_to(secure.root, secure.attempt_of(**change))
    masked.advertise(), masked.deal(), masked.mask(lost=["s4"])
    assert refusal(masked.agree) == "other-survivors"
    masked.mask()
    assert masked.open(masked.reveal(masked.agree())).keys() == {"shared"}


def test_another_round_or_study_is_another_sum(secure, masked):
    masked.reveal(masked.agree())
    for change in ({"round": 2}, {"study_digest": "f" * 64}):
        masked.move_to(secure.root, secure.attempt_of(**change))
        masked.advertise(), masked.deal(), masked.mask(lost=["s4"])
        assert set(masked.reveal(masked.agree())) == {"s0", "s1", "s2", "s3"}


def test_a_closed_attempt_masks_nothing_more(masked):
    masked.reveal(masked.agree())
    assert refusal(lambda: masked.sites["s0"].deal(masked.adverts)) == "already-revealed"
    assert (
        refusal(lambda: masked.sites["s0"].mask(masked.boxes_for("s0"), masked.groups_of("s0"))) == "already-revealed"
    )


# ---- what lies on the site's disk


def test_secrets_are_the_owners_alone_and_gone_once_revealed(masked):
    folder = masked.sites["s0"].folder
    (state,) = folder.path.glob("*.json")
    secret = folder.state().secret
    assert state.stat().st_mode & 0o077 == 0 and len(secret) == 64
    masked.reveal(masked.agree())
    assert secret not in state.read_text() and folder.state().secret == ""
    assert folder.state().revealed is not None


def test_another_round_forgets_secrets_but_not_what_was_opened(secure, masked):
    masked.reveal(masked.agree())
    before, later = masked.sites["s0"].folder, secure.attempt_of(round=2)
    MaskingFolder.of(secure.root / "s0", later).forget_other_rounds()
    assert before.state() is None and before.opened.survivors(masked.attempt) == masked.survivors.sites
    assert before.opened.survivors(later) is None
