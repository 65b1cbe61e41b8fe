"""alexprep completion: shell completion scripts for the three commands."""

import click
from click.shell_completion import get_completion_class

from ..terminal import examples, one_line_errors

COMMANDS = ("alexprep", "alextrain", "alexeval")


@click.command(
    short_help="Print the completion script for a shell.",
    epilog=examples(
        "alexprep completion bash >> ~/.bashrc",
        "alexprep completion zsh >> ~/.zshrc",
        "alexprep completion fish > ~/.config/fish/completions/alexkit.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@one_line_errors
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and recipes."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three shells"
    for name in COMMANDS:
        # The script only needs the command's name: it calls the command for completions at every Tab.
        click.echo(kind(click.Command(name), {}, name, f"_{name.upper()}_COMPLETE").source())
