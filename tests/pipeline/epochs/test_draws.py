import numpy as np
import pytest

from alexkit.pipeline.epochs.draws import draw, philox4x32


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    a, b, c, d = np.array(counter, np.uint64)
    low, high = np.array(key, np.uint64)
    assert philox4x32((a, b, c, d), (low, high)) == words


def test_a_draw_does_not_depend_on_its_batch() -> None:
    numbers = np.arange(1000)
    whole = draw(7, 3, numbers, numbers, (33, 33))
    for pick in ([5], [999, 0, 5], list(range(100, 163))):
        part = draw(7, 3, np.array(pick), np.array(pick), (33, 33))
        assert (part.crop_B2 == whole.crop_B2[pick]).all()
        assert (part.mirror_B == whole.mirror_B[pick]).all()
        assert (part.alpha_B3 == whole.alpha_B3[pick]).all()


def test_seed_epoch_and_number_all_matter() -> None:
    numbers = np.arange(64)
    base = draw(0, 0, numbers, numbers, (33, 33))
    for seed, epoch, shift in ((1, 0, 0), (2**32, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2**32)):
        other = draw(seed, epoch, numbers + shift, numbers + shift, (33, 33))
        assert (other.crop_B2 != base.crop_B2).any() and (other.alpha_B3 != base.alpha_B3).any()


def test_draws_are_uniform_and_normal() -> None:
    numbers = np.arange(200_000)
    draws = draw(1, 0, numbers, numbers, (33, 33))
    for axis in (0, 1):
        counts = np.bincount(draws.crop_B2[:, axis], minlength=33)
        assert len(counts) == 33  # 0 to 32 inclusive
        chi_square = ((counts - 200_000 / 33) ** 2 / (200_000 / 33)).sum()
        assert chi_square < 70  # 32 degrees of freedom: exceeded once in 10,000 seeds
    assert abs(draws.mirror_B.mean() - 0.5) < 0.005
    assert np.abs(draws.alpha_B3.mean(axis=0)).max() < 0.01
    assert np.abs(np.cov(draws.alpha_B3.T) - np.eye(3)).max() < 0.015
    assert abs((draws.alpha_B3**4).mean() - 3) < 0.1
