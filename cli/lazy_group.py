"""Groups of commands that import only the command that is called, so that it starts quickly."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command


class LazyGroup(TyperGroup):
    """A group with further commands in `modules`: name to module:attribute, and its line in the help.

    The attribute is a command's function or a Typer. Without a line a command isn't shown in the help.
    """

    modules: ClassVar[Mapping[str, tuple[str, str]]]

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *self.modules]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, its module imported; None if there is none of that name."""
        if cmd_name not in self.modules:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.modules[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            of_one = typer.Typer(add_completion=False, rich_markup_mode=None)
            of_one.command()(found)
            found = of_one
        command = get_command(found)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as in its base
        own = {name: command.get_short_help_str(limit=100) for name, command in self.commands.items()}
        further = {name: line for name, (_, line) in self.modules.items() if line}
        with formatter.section("Commands"):
            formatter.write_dl([*own.items(), *further.items()])


def command_group(text: str, further: Mapping[str, tuple[str, str]] | None = None) -> typer.Typer:
    """A group with this text in its help, whose `further` commands are imported only when they are called."""

    class Group(LazyGroup):
        modules = further or {}

    group = typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None, help=text)
    group.callback()(lambda: None)  # so that a group of one stays a group
    return group
