"""Whether a line such as `loy sink infobip --resync` is one that the command line takes."""

import re

import typer

from streams.cli import app


def require_command(words):
    """Words after `loy`: there is such a command, and it has these options."""
    command = typer.main.get_command(app)
    if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
        return  # `loy ...`, `loy --help`: any of them
    while hasattr(command, "commands"):
        assert words, f"loy ... {command.name} needs a command"
        assert words[0] in command.commands, f"there is no {words[0]} in {command.name}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    asked = {word.strip("[]").partition("=")[0] for word in words if word.strip("[]").startswith("--")}
    assert asked <= known, f"loy {command.name} has no {asked - known}"
