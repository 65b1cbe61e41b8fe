"""Laws of original sizes: every image is in one bin of each kind, upper edges belong to the next, and counts add up."""

import pytest

from alexkit.prep.format.originals import ASPECTS, SHORTER_PX, Originals, OriginalsTally


@pytest.mark.parametrize(
    ("size_hw", "shorter", "aspect"),
    [
        ((1, 1), "1", "0.9"),
        ((375, 500), "256", "1.32"),  # 4:3
        ((500, 375), "256", "0.74"),
        ((256, 384), "256", "1.45"),  # 3:2
        ((384, 256), "256", "0.66"),
        ((255, 255), "192", "0.9"),
        ((10, 100_000), "1", "4.0"),
        ((100_000, 10), "1", "0.0"),
        ((9000, 9000), "4096", "0.9"),
    ],
)
def test_an_image_is_in_one_bin_of_each_kind(size_hw: tuple[int, int], shorter: str, aspect: str) -> None:
    tally = OriginalsTally()
    tally.add(size_hw)
    assert tally.total() == Originals(shorter_px={shorter: 1}, aspect={aspect: 1})


def test_counts_of_parts_add_up_in_any_order_to_the_same_bytes() -> None:
    sizes = [(h, w) for h in (20, 200, 2000) for w in (30, 300, 3000)]
    whole, parts = OriginalsTally(), [OriginalsTally() for _ in range(3)]
    for i, size in enumerate(sizes):
        whole.add(size)
        parts[i % 3].add(size)
    one, two, three = (part.total() for part in parts)
    for total in (one + two + three, three + (two + one)):
        assert repr(total) == repr(whole.total()), "the order of bins, too"
    assert sum(whole.total().shorter_px.values()) == sum(whole.total().aspect.values()) == 9


def test_edges_rise() -> None:
    assert list(SHORTER_PX) == sorted(set(SHORTER_PX)) and list(ASPECTS) == sorted(set(ASPECTS))
