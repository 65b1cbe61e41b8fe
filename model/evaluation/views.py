"""The crops of an image over which a network's probabilities are averaged.

`center`: one central crop. `ten`: corners and center and their mirror images (paper, section 4.1). `nine`: a 3 x 3
grid, not mirrored (used with cuda-convnet's CIFAR-10 networks). All requested crops are made in one pass over the set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from ...errors import InputError
from ...pipeline import CenterCrop, TenViews
from ...pipeline.augment import Evaluation
from ...pipeline.augment.plan import View
from ..network.switches import Kind

ViewKind = Literal["center", "nine", "ten"]
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)
TITLES: dict[ViewKind, str] = {"center": "center crop", "nine": "nine views", "ten": "ten views"}


@dataclass(frozen=True, kw_only=True, slots=True)
class NineViews(Evaluation):
    """A 3 x 3 grid of crops, not mirrored."""

    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        (height, width), (top, left) = self.crop_HW, self._center(size_px)
        grid = product((0, top, size_px - height), (0, left, size_px - width))
        return tuple(View(top=top, left=left, mirror=False) for top, left in grid)


KINDS: dict[ViewKind, type[Evaluation]] = {"center": CenterCrop, "nine": NineViews, "ten": TenViews}


@dataclass(frozen=True, kw_only=True, slots=True)
class SomeViews(Evaluation):
    """All crops needed by `kinds`, without duplicates."""

    kinds: tuple[ViewKind, ...] = ("center",)
    """Kinds of views, in any order."""

    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        return tuple(dict.fromkeys(view for kind in self.kinds for view in self._views_of(kind, size_px)))

    def rows(self, kind: ViewKind, size_px: int) -> list[int]:
        """The indices of one kind's crops among all crops."""
        all_views = self.fixed_views(size_px)
        return [all_views.index(view) for view in self._views_of(kind, size_px)]

    def _views_of(self, kind: ViewKind, size_px: int) -> tuple[View, ...]:
        return KINDS[kind](crop=self.crop, mean="none").fixed_views(size_px)


def choose_views(
    asked: Sequence[ViewKind] | None, *, size_px: int, crop_px: int, flip: bool, name: str, network: Kind = "two-column"
) -> tuple[ViewKind, ...]:
    """Choose the kinds of views for a network, in the order of `VIEW_KINDS`.

    Raises InputError for views that would be wrong: mirror images for a network trained without them, or several crops
    if the crop is the whole image.

    Args:
        asked: the requested kinds; None for the center crop and one that suits the network: nine views, which the
            published errors are of, for CIFAR-10 networks, and for networks trained without mirror images; otherwise
            ten; only the center crop if that is the whole image.
        size_px: side of the stored images, px.
        crop_px: side of the network's crop, px.
        flip: whether the network was trained with mirror images.
        name: the network's name, for messages.
        network: its `network.kind`.
    """
    whole = crop_px >= size_px
    if asked is None:
        many: ViewKind = "nine" if network.startswith("cifar10-") or not flip else "ten"
        return ("center",) if whole else ("center", many)
    for kind in asked:
        if kind not in VIEW_KINDS:
            raise InputError(f"views must be from {', '.join(VIEW_KINDS)}, got {kind!r}")
        if kind != "center" and whole:
            raise InputError(
                f"{name}: {TITLES[kind]} need a crop smaller than the image, but this network reads all of its "
                f"{size_px} px; use --views center"
            )
        if kind == "ten" and not flip:
            raise InputError(
                f"{name}: ten views include mirror images, but this network was trained without them (data.flip = "
                "false); use --views nine or center"
            )
    return tuple(kind for kind in VIEW_KINDS if kind in asked)
