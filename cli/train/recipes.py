"""alextrain recipes: list the built-in recipes; show what one reproduces and what its keys mean."""

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import click

from ..default_group import DefaultGroup
from ..locations import complete_recipe
from ..terminal import examples, one_line_errors
from .cost import CORE_IMAGES_PER_S, COST_KEYS, PAPER_IMAGES_PER_S, about_and_keys, cost_of, rate_in_words

_rate_option = click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Images per second, as measured by --dry-run, to compute the hours.  [default: 227, the paper's; for CIFAR-10 "
    "networks the rate of one CPU core]",
)


@click.command(
    "list",
    short_help="List the recipes, the claims they test, and their cost.",
    epilog=examples("alextrain recipes", "alextrain recipes --rate 1500", "alextrain recipes --json"),
)
@_rate_option
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON instead of the table.")
@one_line_errors
def list_recipes(rate: float | None, as_json: bool) -> None:
    """List the built-in recipes, the paper's claims that they test, and their cost.

    --rate applies to the ImageNet networks only, since those for CIFAR-10 are far smaller.
    """
    # The files are read without validation, since tests validate them: validating here would import pydantic, the
    # loader's options and NumPy, and take three times as long as the list itself.
    from ...model.runs.recipe_files import OTHER_NAMES, built_in_recipes

    rows: list[dict[str, Any]] = []
    for name in built_in_recipes():
        (about, keys), cost = about_and_keys(name), cost_of(name, rate)
        rows.append(
            {
                "recipe": name,
                "other_names": [other for other, recipe in OTHER_NAMES.items() if recipe == name],
                "claims": about.get("claims", []),
                "epochs": keys["training"]["epochs"],
                **(cost.to_json() if cost else dict.fromkeys(COST_KEYS)),
                "title": about.get("title", ""),
            }
        )
    if as_json:
        click.echo(json.dumps(rows))
        return
    click.echo(_table(rows))
    slowest, fastest = min(CORE_IMAGES_PER_S.values()), max(CORE_IMAGES_PER_S.values())
    click.echo(
        f"hours at {rate_in_words(rate or PAPER_IMAGES_PER_S)}; CIFAR-10 networks at {slowest} to {fastest:,} "
        "images/s, measured on one CPU core\n"
        "in all: with the runs that a recipe starts from or is averaged with; claims: explained by alexeval claims\n"
        "for details: alextrain recipes show NAME"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """A line for each recipe and for each other name, sorted by name."""
    head = ("recipe", "claims", "epochs", "nets", "images", "hours", "in all", "what it trains")
    form = "{:17} {:12} {:>6} {:>4} {:>9} {:>7} {:>7}  {}"
    lines = {}
    for row in rows:
        cost: tuple[object, ...] = ("", "any", "", "")
        if row["images"]:
            hours = (f"{row[key]:.1f}" for key in ("hours", "hours_in_all"))
            cost = (row["networks"], f"{row['images'] / 1e6:.1f} M", *hours)
        lines[row["recipe"]] = form.format(row["recipe"], " ".join(row["claims"]), row["epochs"], *cost, row["title"])
        lines |= {other: f"{other:17} another name of {row['recipe']}" for other in row["other_names"]}
    return "\n".join([form.format(*head), *(line for _, line in sorted(lines.items()))])


@click.command(
    "show",
    short_help="Show what a recipe reproduces, its cost and its keys.",
    epilog=examples("alextrain recipes show t1", "alextrain recipes show runs/original/config.json --json"),
)
@click.argument("name", shell_complete=complete_recipe)
@_rate_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print as JSON: `about`, `cost` and the resolved recipe, as in a run's config.json.",
)
@one_line_errors
def show(name: str, rate: float | None, as_json: bool) -> None:
    """Show what a recipe reproduces, what it costs, and every key with its meaning.

    NAME is a built-in recipe, a TOML file or a run's config.json. * marks keys that differ from the paper's text.
    """
    from ...model.runs.checked import to_data
    from ...model.runs.load import load_about, load_recipe
    from ...model.runs.recipe import Recipe
    from ...model.runs.recipe_files import OTHER_NAMES

    recipe, about = load_recipe(name), load_about(name)
    cost = cost_of(name, rate, small_too=True)
    if as_json:
        costs = cost.to_json() if cost else None
        click.echo(json.dumps({"about": to_data(about), "recipe": recipe.to_json(), "cost": costs}))
        return
    names = [recipe.name, *(other for other, built_in in OTHER_NAMES.items() if built_in == recipe.name)]
    click.echo(f"recipe: {', also called '.join(names)}")
    for item in fields(about):
        value = getattr(about, item.name)
        if value != item.default:
            shown = ", ".join(value) if isinstance(value, tuple) else f"{value:,}" if isinstance(value, int) else value
            _say(f"{item.name}: {shown}", "  ")
    unknown = [f"cost: {recipe.training.epochs} epochs of your images; 'alextrain --dry-run' forecasts the hours"]
    for line in cost.lines() if cost else unknown:
        _say(line, "    ")
    _show(recipe, Recipe(), "")
    click.echo("\n* differs from the paper's text, the default of every key")


def _say(words: str, indent: str) -> None:
    """Print a paragraph."""
    first = words[: len(words) - len(words.lstrip())]
    click.echo(click.wrap_text(words.lstrip(), 100, first, indent))


def _show(values: Any, defaults: Any, prefix: str) -> None:
    """Print every key of a section with its value and meaning."""
    meanings = _meanings(type(values))
    hints = get_type_hints(type(values))
    for item in fields(values):
        value, default = getattr(values, item.name), getattr(defaults, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            click.echo(f"\n[{prefix}{item.name}]")
            _show(value, default, f"{prefix}{item.name}.")
            continue
        mark = "*" if value != default else " "
        click.echo(f"{mark} {item.name} = {_plain(value)}")
        click.echo(click.wrap_text(meanings[item.name], 100, "      ", "      "))
        for inner in filter(is_dataclass, get_args(hints[item.name])):  # a list of tables
            for key, meaning in _meanings(inner).items():
                click.echo(click.wrap_text(f"{key}: {meaning}", 100, "      - ", "        "))


def _meanings(section: Any) -> dict[str, str]:
    """What the keys of a section mean, in the words of their docstrings."""
    from pydantic import TypeAdapter

    known = TypeAdapter(section).json_schema()["properties"]
    return {item.name: " ".join(known[item.name].get("description", "").split()) for item in fields(section)}


def _plain(value: Any) -> str:
    from ...model.runs.checked import to_data

    if is_dataclass(value) and not isinstance(value, type):
        return json.dumps({key: inner for key, inner in to_data(value).items() if inner not in (None, [])})
    if isinstance(value, tuple) and value:
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value, ensure_ascii=False)


recipes = DefaultGroup("recipes", default=list_recipes)
recipes.add_command(show)
