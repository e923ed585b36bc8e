"""Shamir's shares: enough of them give the secret, whichever; one fewer fits any secret."""

from __future__ import annotations

from itertools import combinations

import pytest

from common.secure.shamir import PRIME, combine, deal

SECRET = int.from_bytes(b"thirty-two bytes of a secret key")


def test_a_line_by_hand():
    assert deal(5, [3], [1, 2, 4]) == {1: 8, 2: 11, 4: 17}


@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_any_threshold_of_shares_gives_the_secret(threshold):
    shares = deal(SECRET, [PRIME - 7 - power for power in range(threshold - 1)], range(1, 6))
    for points in combinations(shares, threshold):
        assert combine({point: shares[point] for point in points}) == SECRET


def test_one_share_too_few_fits_every_secret():
    shares = deal(SECRET, [11**80, 13**90], [1, 2, 3])
    for other in (0, 1, SECRET + 1):
        # The curve through two shares and any secret at 0 is as good as the dealt one.
        third = (combine({0 - 3: other, 1 - 3: shares[1], 2 - 3: shares[2]})) % PRIME
        assert combine({1: shares[1], 2: shares[2], 3: third}) == other


def test_a_false_share_gives_another_secret():
    shares = deal(SECRET, [2, 3], [1, 2, 3])
    assert combine(shares | {2: shares[2] + 1}) != SECRET


@pytest.mark.parametrize(("secret", "points"), [(PRIME, [1]), (-1, [1]), (1, [0, 1]), (1, [1, 1])])
def test_what_cannot_be_shared_is_refused(secret, points):
    with pytest.raises(ValueError, match="must"):
        deal(secret, [], points)
