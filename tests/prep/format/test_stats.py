"""Laws of the exact statistics."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexkit.prep import ColorStatistics, PixelSums
from alexkit.prep.images.running_sums import RunningSums


def random_images(seed: int, num_images: int, size_px: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_images, size_px, size_px, 3), np.uint8)


def equal(a: PixelSums, b: PixelSums) -> bool:
    return (
        a.num_images == b.num_images
        and bool((a.image_HWC == b.image_HWC).all())
        and bool((a.outer_CC == b.outer_CC).all())
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_any_partition_of_the_images_merges_to_the_same_sums(seed: int, cuts: list[int]) -> None:
    images = random_images(seed, 40)
    whole = sum((PixelSums.of(image) for image in images), PixelSums.zero(8))
    parts = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        running = RunningSums(8)
        for image in images[start:stop]:
            running.add(image)
        parts.append(running.total())
    np.random.default_rng(seed).shuffle(parts)
    assert equal(sum(parts, PixelSums.zero(8)), whole)


@pytest.mark.parametrize("value", [0, 1, 254, 255])
@pytest.mark.parametrize("num_images", [256, 257, 258, 515])
def test_running_sums_do_not_overflow(num_images: int, value: int) -> None:
    running = RunningSums(16)
    for _ in range(num_images):
        running.add(np.full((16, 16, 3), value, np.uint8))
    total = running.total()
    assert total.num_images == num_images
    assert (total.image_HWC == num_images * value).all()
    assert (total.outer_CC == num_images * 256 * value**2).all()


def test_running_sums_equal_the_definition_at_full_size() -> None:
    images = random_images(3, 3, size_px=256)
    images[0] |= 0xF0  # bright images make the largest sums
    running = RunningSums(256)
    for image in images:
        running.add(image)
    assert equal(running.total(), sum((PixelSums.of(image) for image in images), PixelSums.zero(256)))


def test_mean_and_covariance_are_those_of_numpy() -> None:
    images = random_images(1, 20)
    color = ColorStatistics.from_sums(sum((PixelSums.of(image) for image in images), PixelSums.zero(8)))
    pixels = images.reshape(-1, 3).astype(np.float64)
    assert np.allclose(color.mean_C, pixels.mean(0), rtol=1e-14)
    assert np.allclose(color.covariance_CC, np.cov(pixels.T, bias=True), rtol=1e-12)


def test_eigenpairs_are_sorted_orthonormal_and_signed_by_rule() -> None:
    color = ColorStatistics.from_sums(PixelSums.of(random_images(5, 1, 32)[0]))
    vectors = np.array(color.eigenvectors_KC)
    assert list(color.eigenvalues_K) == sorted(color.eigenvalues_K, reverse=True)
    assert np.allclose(vectors @ vectors.T, np.eye(3), atol=1e-12)
    assert np.allclose(vectors.T @ np.diag(color.eigenvalues_K) @ vectors, color.covariance_CC)
    assert (vectors[np.arange(3), np.abs(vectors).argmax(1)] > 0).all()


def test_saved_sums_come_back_and_equal_sums_give_equal_bytes(tmp_path: Path) -> None:
    sums = PixelSums.of(random_images(2, 1)[0])
    sums.save(tmp_path / "a.npz")
    sums.save(tmp_path / "b.npz")
    assert equal(PixelSums.load(tmp_path / "a.npz"), sums)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_file_that_is_no_statistics_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match=r"x\.npz: not a statistics file"):
        PixelSums.load(tmp_path / "x.npz")


def test_sums_of_different_sizes_do_not_add() -> None:
    with pytest.raises(ValueError, match="cannot add"):
        PixelSums.zero(8) + PixelSums.zero(9)


def test_a_damaged_file_is_no_reason_to_advise_unpickling(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"x\.npz: not a statistics file \(not an \.npz archive of plain arrays\)"):
        PixelSums.load(tmp_path / "x.npz")


def test_a_damaged_header_is_told_without_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    PixelSums.zero(32).save(path)
    content = bytearray(path.read_bytes())
    length_of_name = content.index(b"image_HWC.npy") - 4
    content[length_of_name : length_of_name + 2] = b"\x00\x03"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"statistics.npz: not a statistics file \(a damaged archive\); write it again"
    ):
        PixelSums.load(path)
