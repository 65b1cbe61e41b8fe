"""A command group with a default command for lines that do not start with a subcommand."""

import difflib
import os
from typing import Any

import click
from click.shell_completion import CompletionItem

from .streams import Program


class _Nameless(click.Context):
    """Context of a default command: help and errors show only the group's name."""

    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else super().command_path


class DefaultGroup(Program):
    """A group whose `default` command handles every command line that does not start with a subcommand.

    So `alextrain --shards S` and `alextrain recipes` both work. A file or folder named like a subcommand is typed as
    `./NAME`.
    """

    def __init__(self, *args: Any, default: click.Command, **kwargs: Any) -> None:
        super().__init__(*args, help=default.help, short_help=default.short_help, **kwargs)
        self.default = default
        default.context_class = _Nameless

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Route the line to a subcommand, to this group's own options or to the default command."""
        if ctx.resilient_parsing and not args:
            return super().parse_args(ctx, args)  # the shell completes the first word, which may be a subcommand
        own = {name for option in self.get_params(ctx) for name in option.opts}
        is_word = bool(args) and args[0] not in self.commands and not args[0].startswith("-")
        if is_word and not os.path.exists(args[0]):  # noqa: PTH110 - Path.exists raises for a word of 300 letters
            meant = difflib.get_close_matches(args[0], self.commands, n=1, cutoff=0.75)
            if meant:
                raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{meant[0]}'?", ctx)
        if not args or (args[0] not in self.commands and args[0] not in own):
            args = [self.default.name or "", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Look up a subcommand, or the default command by the name that `parse_args` inserts."""
        return self.default if cmd_name == self.default.name else super().get_command(ctx, cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the first word: subcommands and options, else the default command's first argument."""
        found = [*super().shell_complete(ctx, incomplete), *self.default.shell_complete(ctx, incomplete)]
        if found or incomplete.startswith("-"):  # bash drops the words when files are offered too
            return list({item.value: item for item in found}.values())
        arguments = [one for one in self.default.params if isinstance(one, click.Argument)]
        return arguments[0].shell_complete(ctx, incomplete) if arguments else []

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The usage of the default command, plus a line for the subcommands."""
        self.default.format_usage(ctx, formatter)
        if self.commands:
            formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix=f"{'':7}")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The text of the default command."""
        self.default.format_help_text(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the default command, then the subcommands."""
        click.Command.format_options(self.default, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples of the default command."""
        self.default.format_epilog(ctx, formatter)
