"""The parsers of the commands, with a flag for each field of the settings.

They only collect text; `clouds.config.resolve` converts it, as it does for files.
"""

import argparse
import dataclasses
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from clouds import __version__
from clouds.config import fields
from clouds.errors import did_you_mean

_LEVELS = ("debug", "info", "warning", "error")


class Parser(argparse.ArgumentParser):
    """A parser that knows its flags and reports errors in one line."""

    def __init__(self, **options):
        self.flags = []
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            **options,
        )

    def add_flag(self, group, *names: str, **options) -> argparse.Action:
        """Adds an argument to a group; those without help text stay hidden."""
        self.flags += names
        return group.add_argument(*names, **options)

    def error(self, message: str):
        """Prints a line and ends the process with exit code 2."""
        if "expected" in message and "argument" in message:
            message += " (write a value that begins with - as in --flag=-1)"
        name = self.prog.replace("/", " ").split()[-1]
        stop = "" if message.endswith("?") else "."
        self.exit(2, f"{name}: error: {message}{stop} See {self.prog} --help.\n")

    def unknown(self, rest: list[str]) -> str:
        """Returns the error for unknown arguments, with the most similar flag.

        Args:
          rest: arguments that were not parsed.
        """
        flags = [word.partition("=")[0] for word in rest if word.startswith("-")]
        if flags:
            suggestion = did_you_mean(flags[0], self.flags)
            return f"unknown flag {flags[0]}.{suggestion}".rstrip(".")
        hint = ""
        if Path(rest[0]).suffix and "--images" in self.flags:
            hint = ". A glob must be in quotes"
        elif Path(rest[0]).is_dir() and "--run" in self.flags:
            hint = f". Did you mean --run {rest[0]}?"
        return f"unknown argument '{rest[0]}'{hint}"


def build(commands: Mapping[str, type]) -> tuple[Parser, dict[str, Parser]]:
    """Builds the main parser and the parser of each command.

    Args:
      commands: class of the settings of each command.

    Returns:
      The main parser, which stores the command's name in `command`, and the others by
      name. Flags that are not given are left out of the result.
    """
    prefix = "clouds " if Path(sys.argv[0]).name == "clouds" else "bin/"
    main_parser = Parser(
        prog="bin/clouds" if prefix == "bin/" else "clouds",
        description="Finds patterns of shallow clouds in satellite images.",
        epilog=f"Example:\n  {prefix}train --help",
    )
    subparsers = main_parser.add_subparsers(
        dest="command", title="commands", metavar="COMMAND", parser_class=Parser
    )
    parsers = {}
    for name, settings in commands.items():
        description, _, example = settings.__doc__.partition("\n\n")
        parsers[name] = subparsers.add_parser(
            name,
            prog=f"{prefix}{name}",
            usage=_usage(f"{prefix}{name}", settings),
            description=description,
            help=description,
            epilog=textwrap.dedent(example).strip().replace("bin/", prefix),
        )
        _add_fields(parsers[name], settings)
        _add_general(parsers[name])
    group = main_parser.add_argument_group("flags")
    _add_help_and_version(main_parser, group)
    main_parser.add_flag(
        group,
        "--print-completion",
        choices=("bash", "zsh", "fish"),
        metavar="SHELL",
        help="print the completion script for bash, zsh or fish",
    )
    return main_parser, parsers


def _sorted_fields(settings: type) -> list[dataclasses.Field]:
    """Returns the fields of a command, before those inherited from a base class."""
    own = settings.__annotations__
    return sorted(dataclasses.fields(settings), key=lambda field: field.name not in own)


def _usage(prog: str, settings: type) -> str:
    hints = fields.hints(settings)
    words = [prog]
    for field in _sorted_fields(settings):
        name, hint = fields.name(field), hints[field.name]
        if field.metadata.get("positional"):
            words.append(_repeated(name, hint))
        elif field.default is dataclasses.MISSING:
            words.append(f"{name} {_repeated(fields.form(hint).metavar, hint)}")
    return " ".join([*words, "[flags]"])


def _repeated(metavar: str, hint) -> str:
    return f"{metavar} [{metavar} ...]" if fields.several(hint) else metavar


def _add_fields(parser: Parser, settings: type) -> None:
    hints = fields.hints(settings)
    group = parser.add_argument_group("flags")
    for field in _sorted_fields(settings):
        if field.metadata["help"] is None:
            continue
        if section := field.metadata.get("section"):
            group = parser.add_argument_group(section)
        hint = hints[field.name]
        positional = field.metadata.get("positional")
        action = parser.add_flag(
            group,
            field.name if positional else fields.name(field),
            help=_help(field, hint),
            default=argparse.SUPPRESS,
            **_options(field, hint),
        )
        if choices := fields.choices(hint):
            action.completer = lambda choices=choices, **_: choices
        if earlier := field.metadata.get("renamed_from"):
            parser.add_flag(
                group,
                f"--{earlier.replace('_', '-')}",
                dest=field.name,
                help=argparse.SUPPRESS,
                default=argparse.SUPPRESS,
                **_options(field, hint),
            )


def _options(field: dataclasses.Field, hint) -> dict:
    if hint in (bool, bool | None):
        return {"action": argparse.BooleanOptionalAction}
    if field.metadata.get("positional"):
        # Optional here, as --config may give it.
        nargs = "*" if fields.several(hint) else "?"
        return {"nargs": nargs, "metavar": fields.name(field)}
    nargs = "+" if fields.several(hint) else None
    return {"nargs": nargs, "metavar": fields.form(hint).metavar}


def _help(field: dataclasses.Field, hint) -> str:
    # argparse applies % formatting to help texts.
    text = field.metadata["help"].replace("%", "%%")
    if field.default is dataclasses.MISSING:
        return f"{text} (required)"
    if field.default is None:
        return text
    return f"{text} (default: {fields.shown(field.default, hint)})"


def _add_general(parser: Parser) -> None:
    group = parser.add_argument_group("general")
    parser.add_flag(
        group,
        "--config",
        metavar="FILE",
        help="YAML or JSON file of settings, with the names of the flags as keys, such "
        "as the config.json of a run; flags take precedence",
    )
    parser.add_flag(
        group,
        "--print-config",
        action="store_true",
        help="print all settings, from --config, flags and defaults, as YAML that "
        "--config can read, and exit",
    )
    parser.add_flag(
        group,
        "--log-level",
        choices=_LEVELS,
        metavar=f"{{{','.join(_LEVELS)}}}",
        help="lowest level of messages on stderr, including those of libraries and of "
        "TensorFlow's C++ code; warning and error turn off the progress that is logged "
        "every minute where there is no terminal (default: progress and warnings, but "
        "no messages of C++ code)",
    )
    parser.add_flag(
        group, "--debug", action="store_true", help="show tracebacks of errors"
    )
    _add_help_and_version(parser, group)


def _add_help_and_version(parser: Parser, group) -> None:
    parser.add_flag(
        group,
        "--version",
        action="version",
        version=__version__,
        help="print the version and exit",
    )
    parser.add_flag(
        group, "-h", "--help", action="help", help="print this help and exit"
    )
