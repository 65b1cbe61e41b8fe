"""The description of a recipe: which claims of the paper it reproduces, and what it needs."""

from pydantic.dataclasses import dataclass

from ..network.switches import CHECKED


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class About:
    """The [about] section of a recipe; it does not affect the run."""

    title: str = ""
    """What the recipe trains, in a few words."""
    claims: tuple[str, ...] = ()
    """Ids of the paper's claims that it helps to test, as listed in docs/claims/index.md."""
    data: str = ""
    """The data it needs."""
    train_images: int = 0
    """Number of training images, from which its cost is computed."""
    networks: int = 1
    """Number of networks that its claim is about, to be trained with `--seeds`."""
    averaged_with: tuple[str, ...] = ()
    """The recipes of the other networks that these are averaged with."""
    printed: str = ""
    """The published or logged result to compare with, if there is one."""
    source: str = ""
    """Where its settings are recorded."""
    departs: str = ""
    """How it differs from its source."""
