"""The randomness of augmentation: a pure function of (seed, epoch, number), computed for a whole batch at once.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) turns a counter into four random
words. The key is the seed; the counter is (number, epoch, purpose), so no two draws share words. Batch, rank, thread
and device play no part.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled

# Purposes of draws. The number of one purpose is never reused for another.
CROP, COLOR, BOX, TWIST, GRAYSCALE, ERASE, OPERATORS, MIX = map(np.uint64, range(8))
_LOW = np.uint64(0xFFFFFFFF)
_31, _32 = np.uint64(31), np.uint64(32)
_MULTIPLY_0, _MULTIPLY_2 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What was drawn for a batch of B samples."""

    crop_B2: NDArray[np.int64]
    """Top and left of the crop in px."""
    mirror_B: NDArray[np.bool_]
    """Whether the crop is mirrored."""
    alpha_B3: NDArray[np.float32]
    """Standard normal, one per principal component."""


def draw(
    seed: int,
    epoch: int,
    crop_numbers_B: NDArray[np.int64],
    color_numbers_B: NDArray[np.int64],
    num_offsets_HW: tuple[int, int] | NDArray[np.int64],
) -> Draws:
    """Draw for one batch: crop offsets uniform on each axis, mirroring with probability 1/2, normal color noise.

    Args:
        seed: 0 to 2**64 - 1.
        epoch: Counted from 0, below 2**32.
        crop_numbers_B: Numbers for which crop and mirroring are drawn; samples with the same number share them.
        color_numbers_B: Sample indices for which the colors are drawn.
        num_offsets_HW: Number of crop offsets along each axis: tops are in 0..num_offsets_HW[0]-1. If images differ in
            size, those of each image, int64 (B, 2).
    """
    n = len(crop_numbers_B)
    draws = Draws(
        crop_B2=np.empty((n, 2), np.int64), mirror_B=np.empty(n, np.bool_), alpha_B3=np.empty((n, 3), np.float32)
    )
    numbers = crop_numbers_B.astype(np.uint64), color_numbers_B.astype(np.uint64)
    num_offsets_B2 = np.empty((n, 2), np.uint64)
    num_offsets_B2[:] = num_offsets_HW
    _draw(*numbers, np.uint64(epoch), np.uint64(seed), num_offsets_B2, draws.crop_B2, draws.mirror_B, draws.alpha_B3)
    return draws


@compiled
def _draw(
    crops: NDArray[np.uint64],
    colors: NDArray[np.uint64],
    epoch: np.uint64,
    seed: np.uint64,
    num_offsets: NDArray[np.uint64],
    crop: NDArray[np.int64],
    mirror: NDArray[np.bool_],
    alpha: NDArray[np.float32],
) -> None:
    for i in range(len(crops)):
        top, left, side, _ = philox4x32((crops[i] & _LOW, crops[i] >> _32, epoch, CROP), (seed & _LOW, seed >> _32))
        # The high half of word * count is uniform except for a bias below count / 2**32.
        crop[i, 0], crop[i, 1] = (top * num_offsets[i, 0]) >> _32, (left * num_offsets[i, 1]) >> _32
        mirror[i] = side >> _31 == 1
        words = philox4x32((colors[i] & _LOW, colors[i] >> _32, epoch, COLOR), (seed & _LOW, seed >> _32))
        # Box-Muller on float64; rounding to float32 hides last-place differences between math libraries.
        u0, u1, u2, u3 = uniform(words[0]), uniform(words[1]), uniform(words[2]), uniform(words[3])
        radius_0, radius_1 = math.sqrt(-2.0 * math.log(u0)), math.sqrt(-2.0 * math.log(u1))
        alpha[i, 0] = radius_0 * math.cos(2.0 * math.pi * u2)
        alpha[i, 1] = radius_1 * math.cos(2.0 * math.pi * u3)
        alpha[i, 2] = radius_0 * math.sin(2.0 * math.pi * u2)


@compiled
def uniform(word: np.uint64) -> float:
    """A random word as a number in (0, 1)."""
    return (float(word) + 0.5) * 2.0**-32


def draw_uniform(seed: int, epoch: int, numbers_B: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """`count` uniform numbers in (0, 1) per sample, float32 (B, count), for the user's operators."""
    random_BK = np.empty((len(numbers_B), count), np.float32)
    _uniform_rows(np.uint64(seed), np.uint64(epoch), numbers_B, random_BK)
    return random_BK


@compiled
def _uniform_rows(seed: np.uint64, epoch: np.uint64, numbers: NDArray[np.int64], random: NDArray[np.float32]) -> None:
    for i in range(len(random)):
        for k in range(random.shape[1]):
            words = random_words(seed, epoch, numbers[i], OPERATORS, k // 4)
            # 24 bits, so that the largest float32 stays below 1.
            random[i, k] = (np.float32(words[k % 4] >> np.uint64(8)) + np.float32(0.5)) * np.float32(2.0**-24)


@compiled
def random_words(seed: np.uint64, epoch: np.uint64, number: int, purpose: np.uint64, attempt: int) -> Words:
    """Four random 32-bit words for a sample; each attempt at the same purpose has its own words."""
    index = np.uint64(number)
    counter = (index & _LOW, index >> _32, epoch, purpose | np.uint64(attempt) << np.uint64(8))
    return philox4x32(counter, (seed & _LOW, seed >> _32))


@compiled
def philox4x32(counter: Words, key: tuple[np.uint64, np.uint64]) -> Words:
    """Ten rounds of Philox on a counter of four 32-bit words (held in uint64): four random 32-bit words."""
    word_0, word_1, word_2, word_3 = counter
    key_0, key_1 = key
    for _ in range(10):
        product_0, product_2 = word_0 * _MULTIPLY_0, word_2 * _MULTIPLY_2
        word_0, word_1 = (product_2 >> _32) ^ word_1 ^ key_0, product_2 & _LOW
        word_2, word_3 = (product_0 >> _32) ^ word_3 ^ key_1, product_0 & _LOW
        key_0, key_1 = (key_0 + _WEYL_0) & _LOW, (key_1 + _WEYL_1) & _LOW
    return word_0, word_1, word_2, word_3
