"""Laws of the plan: every input once, shuffled by the seed alone, keys unique and plain."""

import numpy as np
import pytest

from alexkit.prep.build.plan import ShardPlan, names_in_key, photo_name, sample_key
from alexkit.prep.format.shard import KEY_PATTERN


@pytest.mark.parametrize("num_images", [0, 1, 9, 10, 11, 95])
def test_every_image_is_in_exactly_one_shard(num_images: int) -> None:
    plan = ShardPlan(split="train", num_images=num_images, images_per_shard=10)
    assert [i for positions in plan.shard_ranges() for i in positions] == list(range(num_images))
    assert sorted(plan.order().tolist()) == list(range(num_images))


def test_the_shuffle_depends_on_seed_and_split_and_nothing_else() -> None:
    orders = [
        ShardPlan(split=split, num_images=50, seed=seed).order().tolist()
        for split in ("train", "val")
        for seed in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert ShardPlan(split="train", num_images=50, seed=1, images_per_shard=7).order().tolist() == orders[1]


def test_the_shuffle_is_the_same_for_ever() -> None:
    assert ShardPlan(split="train", num_images=10).order().tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_a_shuffled_shard_mixes_the_classes() -> None:
    labels = np.repeat(np.arange(100), 100)[ShardPlan(split="train", num_images=10_000).order()]
    distinct = [len(set(labels[i : i + 100])) for i in range(0, 10_000, 100)]
    ideal = 100 * (1 - 0.99**100)
    assert abs(np.mean(distinct) - ideal) < 2


@pytest.mark.parametrize("name", ["a/1.jpg", "é ü/☃.png", "x/" + "y" * 300, "a/noext", "a/.jpg", "-/..--..jpg"])
def test_keys_are_plain(name: str) -> None:
    assert KEY_PATTERN.fullmatch(sample_key(99_999_999, name))


def test_keys_differ_by_position_and_can_be_read() -> None:
    assert sample_key(7, "n01440764/n01440764_10026.JPEG") == "00000007_n01440764_10026"
    assert sample_key(8, "cat/1.jpg") == "00000008_cat_1"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seed": -1}, "seed must be"),
        ({"images_per_shard": 0}, "images per shard"),
        ({"num_images": 10**9}, "raise --images-per"),
    ],
)
def test_impossible_plans_are_refused(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ShardPlan(**({"split": "train", "num_images": 1} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["n01440764/ILSVRC2012_val_00000293.JPEG", "a b/c.d.jpg", "a_b/x_y.png", "unlabeled/7.jpg"]
)
def test_a_key_tells_the_name_it_was_made_of(name: str) -> None:
    ids = ["n01440764", "a", "a b", "a_b"]
    key = sample_key(31, name)
    stem = name.partition("/")[2].rpartition(".")[0].replace(".", "-")
    assert photo_name(key, ids) == stem and next(names_in_key(key, ids)) == key
    assert photo_name("folder/mine_1", ids) == "mine_1"
