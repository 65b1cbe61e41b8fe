"""alexprep completion: the lines that teach a shell to complete our three commands."""

import click
from click.shell_completion import get_completion_class

from ..terminal import examples, one_line_errors

COMMANDS = ("alexprep", "alextrain", "alexeval")


@click.command(
    short_help="Print what a shell needs to complete the commands.",
    epilog=examples(
        "alexprep completion bash >> ~/.bashrc",
        "alexprep completion zsh >> ~/.zshrc",
        "alexprep completion fish > ~/.config/fish/completions/alexkit.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@one_line_errors
def completion(shell: str) -> None:
    """Print what a shell needs to complete commands, options and recipes."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three shells"
    for name in COMMANDS:
        # The script only names the command: what can be completed is asked of it at each press of the key.
        click.echo(kind(click.Command(name), {}, name, f"_{name.upper()}_COMPLETE").source())
