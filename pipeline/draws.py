"""The randomness of augmentation: a pure function of (seed, epoch, number), computed for a whole batch at once.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) turns a counter into four random
words. The key is the seed; the counter is (number, epoch, purpose), so no two draws share words, whatever the batch,
rank, thread or device that asks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACE, COLOUR = 0, 1  # purposes
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLY = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_WEYL = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What was drawn for a batch of B samples.

    `crop_B2`: int64, top and left of the crop; `mirror_B`: bool; `alpha_B3`: float32, standard normal, one per
    principal component.
    """

    crop_B2: NDArray[np.int64]
    mirror_B: NDArray[np.bool_]
    alpha_B3: NDArray[np.float32]


def draw(
    seed: int, epoch: int, place_numbers_B: NDArray[np.int64], colour_numbers_B: NDArray[np.int64], num_places: int
) -> Draws:
    """Draw for one batch: crops uniform in 0..num_places-1 on each axis, mirror images with probability 1/2, colours.

    The numbers are sample indices; samples with one place number share crop and mirror.
    """
    n = len(place_numbers_B)
    counter_4N = np.zeros((4, 2 * n), np.uint64)
    counter_4N[0, :n] = place_numbers_B
    counter_4N[0, n:] = colour_numbers_B
    counter_4N[1] = counter_4N[0] >> _32
    counter_4N[0] &= _LOW
    counter_4N[2] = epoch
    counter_4N[3, n:] = COLOUR
    words_4N = philox4x32(counter_4N, (seed & 0xFFFFFFFF, seed >> 32))
    # The high half of word * count is uniform but for a bias below count / 2**32.
    crop_B2 = ((words_4N[:2, :n] * np.uint64(num_places)) >> _32).T.astype(np.int64)
    # Box-Muller on float64; rounding to float32 hides last-place differences between math libraries.
    u_4B = (words_4N[:, n:].astype(np.float64) + 0.5) * 2.0**-32
    radius_2B = np.sqrt(-2.0 * np.log(u_4B[:2]))
    angle_2B = 2.0 * np.pi * u_4B[2:]
    alpha_3B = np.concatenate([radius_2B * np.cos(angle_2B), radius_2B[:1] * np.sin(angle_2B[:1])])
    return Draws(
        crop_B2=crop_B2, mirror_B=(words_4N[2, :n] >> np.uint64(31)) == 1, alpha_B3=alpha_3B.T.astype(np.float32)
    )


def philox4x32(counter_4N: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Ten rounds of Philox on N counters of four 32-bit words (held in uint64); four random 32-bit words for each."""
    # Words 0 and 2 are multiplied, 1 and 3 only mixed in: two pairs, each one array, halve the number of operations.
    multiplied_2N, mixed_2N = counter_4N[0::2], counter_4N[1::2]
    key_2 = np.array(key, np.uint64)[:, None]
    for _ in range(10):
        products_2N = multiplied_2N * _MULTIPLY
        multiplied_2N = (products_2N >> _32)[::-1] ^ mixed_2N ^ key_2
        mixed_2N = (products_2N & _LOW)[::-1]
        key_2 = (key_2 + _WEYL) & _LOW
    words_4N = np.empty_like(counter_4N)
    words_4N[0::2], words_4N[1::2] = multiplied_2N, mixed_2N
    return words_4N
