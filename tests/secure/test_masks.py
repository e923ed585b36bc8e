"""Masks: they go away exactly, are the same on every machine, and leave nothing to see."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import chi2

from common.secure.masks import CHUNK_WORDS, add_mask

SEED = bytes(range(32))


@pytest.mark.parametrize("size", [0, 1, 15, CHUNK_WORDS - 1, CHUNK_WORDS, 2 * CHUNK_WORDS + 5])
def test_what_is_added_can_be_taken_away(size):
    before = np.arange(size, dtype=np.uint32)
    words = before.copy()
    add_mask(words, SEED, 1)
    assert size == 0 or not np.array_equal(words, before)
    add_mask(words, SEED, -1)
    assert np.array_equal(words, before)


def test_the_stream_is_chacha20s():
    """First block of key 0 and nonce 0: RFC 8439, appendix A.1, test vector 1."""
    words = np.zeros(16, dtype=np.uint32)
    add_mask(words, bytes(32), 1)
    assert words.astype("<u4").tobytes().hex().startswith("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc")


def test_a_chunk_does_not_repeat_the_one_before():
    words = np.zeros(2 * CHUNK_WORDS, dtype=np.uint32)
    add_mask(words, SEED, 1)
    assert not np.array_equal(words[:CHUNK_WORDS], words[CHUNK_WORDS:])


def test_masked_zeros_are_uniform_bytes():
    words = np.zeros(250_000, dtype=np.uint32)
    add_mask(words, SEED, 1)
    counts = np.bincount(words.view(np.uint8), minlength=256)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < chi2.isf(1e-10, 255)


def test_ten_megabytes_are_masked_in_far_less_than_a_second():
    words = np.zeros(2_500_000, dtype=np.uint32)
    began = time.process_time()
    add_mask(words, SEED, 1)
    assert time.process_time() - began < 0.5
