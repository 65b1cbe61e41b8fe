"""alextrain recipes: list the built-in recipes; show what one reproduces and what its keys mean."""

import json
from dataclasses import fields, is_dataclass
from typing import Any

import click

from ..default_group import DefaultGroup
from ..locations import complete_recipe
from ..terminal import examples, one_line_errors

# The paper's own run: 90 epochs in five to six days on two GTX 580.
PAPER_IMAGES_PER_S = 227


@click.command(
    "list",
    short_help="List the recipes, the claims they test, and their cost.",
    epilog=examples("alextrain recipes", "alextrain recipes --rate 1500", "alextrain recipes --json"),
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=PAPER_IMAGES_PER_S,
    show_default=True,
    help="Images per second, as measured by --dry-run, to compute the hours.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON instead of the table.")
@one_line_errors
def list_recipes(rate: float, as_json: bool) -> None:
    """List the built-in recipes, the paper's claims that they test, and their cost."""
    # The files are read without validation, since tests validate them: validating here would import pydantic, the
    # loader's options and NumPy, and take three times as long as the list itself.
    from ...model.runs.recipe_files import built_in_recipes, read_recipe, read_table

    rows: list[dict[str, Any]] = []
    for name in built_in_recipes():
        about, epochs = read_table(name).get("about", {}), read_recipe(name)["training"]["epochs"]
        images = about.get("train_images", 0) * epochs
        rows.append(
            {
                "recipe": name,
                "claims": about.get("claims", []),
                "epochs": epochs,
                "images": images or None,
                "hours": images / rate / 3600 if images else None,
                "title": about.get("title", ""),
            }
        )
    if as_json:
        click.echo(json.dumps(rows))
        return
    click.echo(f"{'recipe':16} {'claims':12} {'epochs':>6} {'images':>8} {'hours':>8}  what it trains")
    for row in rows:
        cost = f"{row['images'] / 1e6:6.1f} M {row['hours']:8.1f}" if row["images"] else f"{'any':>8} {'':>8}"
        click.echo(f"{row['recipe']:16} {' '.join(row['claims']):12} {row['epochs']:6} {cost}  {row['title']}")
    click.echo(f"hours at {rate:g} images/s; for details: alextrain recipes show NAME")


@click.command(
    "show", epilog=examples("alextrain recipes show t1", "alextrain recipes show runs/original/config.json --json")
)
@click.argument("name", shell_complete=complete_recipe)
@click.option(
    "--json", "as_json", is_flag=True, help="Print as JSON: `about` and the resolved recipe, as in a run's config.json."
)
@one_line_errors
def show(name: str, as_json: bool) -> None:
    """Show what a recipe reproduces, and every key with its meaning.

    NAME is a built-in recipe, a TOML file or a run's config.json. * marks keys that differ from the paper's text.
    """
    from ...model.runs.checked import to_data
    from ...model.runs.load import load_about, load_recipe
    from ...model.runs.recipe import Recipe

    recipe, about = load_recipe(name), load_about(name)
    if as_json:
        click.echo(json.dumps({"about": to_data(about), "recipe": recipe.to_json()}))
        return
    for item in fields(about):
        value = getattr(about, item.name)
        if value:
            shown = ", ".join(value) if isinstance(value, tuple) else f"{value:,}" if isinstance(value, int) else value
            click.echo(click.wrap_text(f"{item.name}: {shown}", 100, subsequent_indent="  "))
    _show(recipe, Recipe(), "")
    click.echo("\n* differs from the paper's text, the default of every key")


def _show(values: Any, defaults: Any, prefix: str) -> None:
    """Print every key of a section with its value and meaning."""
    from pydantic import TypeAdapter

    known = TypeAdapter(type(values)).json_schema()["properties"]
    for item in fields(values):
        value, default = getattr(values, item.name), getattr(defaults, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            click.echo(f"\n[{prefix}{item.name}]")
            _show(value, default, f"{prefix}{item.name}.")
            continue
        mark = "*" if value != default else " "
        click.echo(f"{mark} {item.name} = {_plain(value)}")
        meaning = " ".join(known[item.name].get("description", "").split())
        click.echo(click.wrap_text(meaning, 100, "      ", "      "))


def _plain(value: Any) -> str:
    from ...model.runs.checked import to_data

    if is_dataclass(value) and not isinstance(value, type):
        return json.dumps({key: inner for key, inner in to_data(value).items() if inner not in (None, [])})
    if isinstance(value, tuple) and value:
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value, ensure_ascii=False)


recipes = DefaultGroup("recipes", default=list_recipes)
recipes.add_command(show)
