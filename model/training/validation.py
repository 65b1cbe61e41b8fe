"""Which split a run is validated on."""

import logging
from pathlib import Path

from ...errors import InputError
from ..runs.recipe import Recipe

logger = logging.getLogger(__name__)

# By `data.validate_on`; the first one that is there is taken.
_SPLITS = {"val": ("val",), "test": ("test", "val"), "none": ()}


def validation_split(recipe: Recipe, shards: Path) -> str | None:
    """The split of the sets in `shards` to validate on, None where there is none."""
    return next((split for split in _SPLITS[recipe.data.validate_on] if (shards / split).is_dir()), None)


def require_validation(recipe: Recipe, shards: Path) -> str | None:
    """`validation_split`, with a warning where there is none that says why. InputError where the schedule needs one."""
    split = validation_split(recipe, shards)
    if split is not None:
        return split
    splits = _SPLITS[recipe.data.validate_on]
    why = f"{shards} has no {' and no '.join(splits)}" if splits else "data.validate_on = 'none'"
    if recipe.schedule.kind == "plateau":
        raise InputError(
            f"{why}, but schedule.kind = 'plateau' lowers the rate by the validation error; choose another "
            "schedule, e.g. --recipe original, or shard a validation set"
        )
    logger.warning("nothing is validated: %s", why)
    return None
