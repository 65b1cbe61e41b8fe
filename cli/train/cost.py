"""The cost of a recipe in images and hours: of its own networks, and of the other runs that it needs.

It is read from the recipe files as they are, so that listing all recipes stays fast.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

# Of the paper's own run: 90 epochs in five to six days on two GTX 580.
PAPER_IMAGES_PER_S = 227
# The CIFAR-10 networks are far smaller. Medians of the training logs of the runs in docs/claims: float32 on one core of
# an Intel Xeon with AVX512, beside other work.
CORE_IMAGES_PER_S = {"cifar10-19": 1460, "cifar10-18": 1160, "cifar10-13": 790, "cifar10-11": 670}

COST_KEYS = ("networks", "images", "images_per_s", "hours", "needs", "images_in_all", "hours_in_all")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What the networks of one recipe cost to train."""

    recipe: str
    """Its name."""
    networks: int
    """Networks to train."""
    epochs: int
    """Passes of each over the training set."""
    train_images: int
    """Images in the training set."""
    images_per_s: float
    """The rate that the hours assume."""
    needs: "tuple[Cost, ...]" = ()
    """The runs that it starts from, in their order, and then those that it is averaged with."""

    @property
    def images(self) -> int:
        """Images seen in training by all of its networks."""
        return self.networks * self.epochs * self.train_images

    @property
    def hours(self) -> float:
        """Hours of all of its networks, one after the other."""
        return self.images / self.images_per_s / 3600

    @property
    def images_in_all(self) -> int:
        """Images, including those of the runs that it needs."""
        return self.images + sum(other.images for other in self.needs)

    @property
    def hours_in_all(self) -> float:
        """Hours, including those of the runs that it needs."""
        return self.hours + sum(other.hours for other in self.needs)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {key: getattr(self, key) for key in COST_KEYS} | {"needs": [other.recipe for other in self.needs]}

    def lines(self) -> list[str]:
        """The same in words, one line for each run and one for all."""
        each = f"{self.epochs} epochs of {self.train_images:,} images"
        first = f"cost: {self.networks} networks, {each} each" if self.networks > 1 else f"cost: {each}"
        lines = [f"{first}: {_amount(self.images, self.hours)} at {rate_in_words(self.images_per_s)}"]
        lines += [f"  needs {other.recipe}: {_amount(other.images, other.hours)}" for other in self.needs]
        if self.needs:
            lines.append(f"  in all {_amount(self.images_in_all, self.hours_in_all)}")
        return lines


def cost_of(name_or_file: str, images_per_s: float | None = None, *, small_too: bool = False) -> Cost | None:
    """The cost of a recipe; None if it does not say how many training images it needs.

    Args:
        name_or_file: A recipe, as `alextrain --recipe` takes it.
        images_per_s: The rate; None for that of the paper's GPUs.
        small_too: Whether this rate holds for the networks in `CORE_IMAGES_PER_S` as well.
    """
    about, recipe = about_and_keys(name_or_file)
    if not about.get("train_images"):
        return None
    rate = images_per_s or PAPER_IMAGES_PER_S
    if not (small_too and images_per_s):
        rate = CORE_IMAGES_PER_S.get(recipe.get("network", {}).get("kind", ""), rate)
    names = [*about.get("averaged_with", ())]
    training = recipe.get("training", {})
    start = training.get("start_from", "")
    if start in _built_in():
        before = cost_of(start, images_per_s, small_too=small_too)
        assert before is not None  # built-in recipes with successors say what they need
        names = [*(other.recipe for other in before.needs), before.recipe, *names]
    needs = [cost_of(name, images_per_s, small_too=small_too) for name in dict.fromkeys(names)]
    return Cost(
        recipe=recipe["name"],
        networks=about.get("networks", 1),
        epochs=training["epochs"] if "epochs" in training else _default_epochs(),
        train_images=about["train_images"],
        images_per_s=rate,
        needs=tuple(one for one in needs if one is not None),
    )


def about_and_keys(name_or_file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The [about] section of a recipe and its keys, unchecked and not to be changed; built-in ones are read once."""
    from ...model.runs.recipe_files import read_recipe, read_table

    if name_or_file in _built_in():
        return _built_in()[name_or_file]
    return read_table(name_or_file).get("about", {}), read_recipe(name_or_file)


@cache
def _built_in() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    from ...model.runs.recipe_files import built_in_recipes, read_recipe, read_table

    return {name: (read_table(name).get("about", {}), read_recipe(name)) for name in built_in_recipes()}


def _default_epochs() -> int:
    from ...model.runs.recipe import Training  # imports much, and every built-in recipe sets the key

    return Training().epochs


def rate_in_words(images_per_s: float) -> str:
    """A rate, and whose it is if it was not given by the user."""
    whose = ", that of the paper's two GTX 580s" if images_per_s == PAPER_IMAGES_PER_S else ""
    whose = ", measured on one CPU core" if images_per_s in CORE_IMAGES_PER_S.values() else whose
    return f"{images_per_s:,g} images/s{whose}"


def _amount(images: int, hours: float) -> str:
    return f"{images / 1e6:,.1f} M images, {hours:,.1f} hours"
