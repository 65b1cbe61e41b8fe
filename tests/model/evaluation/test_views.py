"""Views that would be wrong are refused; all that are asked for are cut once each."""

import pytest

from alexkit.model.evaluation.views import SomeViews, choose_views


def choose(asked: object, *, size_px: int = 256, crop_px: int = 224, flip: bool = True) -> tuple[str, ...]:
    return choose_views(asked, size_px=size_px, crop_px=crop_px, flip=flip, name="runs/one")  # type: ignore[arg-type]


def test_without_a_wish_the_views_are_those_that_fit() -> None:
    assert choose(None) == ("center", "ten")
    assert choose(None, flip=False) == ("center", "nine")
    assert choose(None, crop_px=256) == ("center",)
    cifar = choose_views(None, size_px=32, crop_px=24, flip=True, name="runs/one", network="cifar10-13")
    assert cifar == ("center", "nine")  # of which the 13 % are
    assert choose(["ten", "center"]) == ("center", "ten")


@pytest.mark.parametrize(
    ("asked", "options", "expected"),
    [
        (
            "ten",
            {"flip": False},
            "runs/one: ten views include mirror images, but this network was trained without them",
        ),
        ("ten", {"crop_px": 256}, "runs/one: ten views need a crop smaller than the image"),
        ("nine", {"crop_px": 256}, "reads all of its 256 px; use --views center"),
        ("five", {}, "views must be from center, nine, ten, got 'five'"),
    ],
)
def test_views_that_would_be_wrong_are_refused(asked: str, options: dict[str, int], expected: str) -> None:
    with pytest.raises(ValueError, match=expected.replace("(", r"\(")):
        choose([asked], **options)  # type: ignore[arg-type]


def test_views_that_several_kinds_need_are_cut_once() -> None:
    augment = SomeViews(crop=24, mean="none", kinds=("center", "nine", "ten"))
    views = augment.fixed_views(32)
    # Nine of the grid, which hold the corners and the center, and the five mirror images of those.
    assert len(views) == len(set(views)) == 14
    assert len(augment.rows("center", 32)) == 1 and len(augment.rows("nine", 32)) == 9
    rows = augment.rows("ten", 32)
    assert [(views[row].top, views[row].left, views[row].mirror) for row in rows] == [
        (top, left, mirror) for mirror in (False, True) for top, left in ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4))
    ]
