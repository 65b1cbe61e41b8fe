"""alextrain recipes: what can be trained by name, what it reproduces, and what every key means."""

from dataclasses import fields, is_dataclass
from typing import Any

import click

from ..default_group import DefaultGroup
from ..terminal import one_line_errors

# Of the paper's own run: 90 epochs in five to six days on two GTX 580.
PAPER_IMAGES_PER_S = 227


@click.command("list", epilog="\b\nExamples:\n  alextrain recipes\n  alextrain recipes --rate 1500")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=PAPER_IMAGES_PER_S,
    show_default=True,
    help="Images per second, as --dry-run measures them: the hours follow.",
)
@one_line_errors
def list_recipes(rate: float) -> None:
    """List the built-in recipes, the claims they serve and what they cost."""
    from ...model.runs.load import built_in_recipes, load_about, load_recipe

    click.echo(f"{'recipe':16} {'claims':8} {'epochs':>6} {'images':>8} {'hours':>8}  what it trains")
    for name in built_in_recipes():
        about, epochs = load_about(name), load_recipe(name).training.epochs
        images = about.train_images * epochs
        cost = f"{images / 1e6:6.1f} M {images / rate / 3600:8.1f}" if images else f"{'any':>8} {'':>8}"
        click.echo(f"{name:16} {' '.join(about.claims):8} {epochs:6} {cost}  {about.title}")
    click.echo(f"hours at {rate:g} images/s; 'alextrain recipes show NAME' tells the rest")


@click.command("show", epilog="\b\nExamples:\n  alextrain recipes show t1")
@click.argument("name")
@one_line_errors
def show(name: str) -> None:
    """Show what a recipe reproduces, and every key with its meaning.

    NAME is a built-in recipe, a TOML file or a run's config.json. Keys that differ from the paper's text are marked.
    """
    from ...model.runs.load import load_about, load_recipe
    from ...model.runs.recipe import Recipe

    recipe, about = load_recipe(name), load_about(name)
    for item in fields(about):
        value = getattr(about, item.name)
        if value:
            shown = ", ".join(value) if isinstance(value, tuple) else f"{value:,}" if isinstance(value, int) else value
            click.echo(click.wrap_text(f"{item.name}: {shown}", 100, subsequent_indent="  "))
    _show(recipe, Recipe(), "")
    click.echo("\n* differs from the paper's text, which is every key's default")


def _show(values: Any, defaults: Any, prefix: str) -> None:
    """Print every key of a section with its value and its meaning."""
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
    import json

    from ...model.runs.checked import to_data

    if is_dataclass(value) and not isinstance(value, type):
        return json.dumps({key: inner for key, inner in to_data(value).items() if inner not in (None, [])})
    if isinstance(value, tuple) and value:
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value, ensure_ascii=False)


recipes = DefaultGroup("recipes", default=list_recipes)
recipes.add_command(show)
