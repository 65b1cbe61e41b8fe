"""What a recipe says about itself: the claim of the paper that it reproduces, and what that takes."""

from pydantic.dataclasses import dataclass

from ..network.switches import CHECKED


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class About:
    """The [about] of a recipe; nothing in it shapes the run."""

    title: str = ""
    """What it trains, in a few words."""
    claims: tuple[str, ...] = ()
    """Ids of the paper's claims that it serves, as docs/claims/index.md lists them."""
    data: str = ""
    """Which data it needs."""
    train_images: int = 0
    """Images of its training set, from which its cost follows."""
    printed: str = ""
    """The number to compare with, where it is printed or logged."""
    source: str = ""
    """Where its settings are recorded."""
    departs: str = ""
    """Where it departs from its source."""
