"""The parsers of the commands: a flag for each field of their settings.

They only gather text; `clouds.config` makes values of it, as it does for a file.
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

LEVELS = ("debug", "info", "warning", "error")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        """Ends the process, as `argparse` does."""
        if "expected" in message and "argument" in message:
            message += " (one that begins with - follows a =, as in --flag=-1)"
        name = self.prog.replace("/", " ").split()[-1]
        end = "" if message.endswith("?") else "."
        self.exit(2, f"{name}: error: {message}{end} {self.prog} --help says more.\n")


def parsers(commands: Mapping[str, type]) -> tuple[Parser, dict[str, Parser]]:
    """Makes the parser of all commands, and that of each.

    Args:
      commands: the class of settings of each command.

    Returns:
      The one, which leaves the command's name in `command`, and the others by name;
      none sets what is not given.
    """
    start = _start()
    whole = Parser(
        prog="bin/clouds" if start == "bin/" else "clouds",
        description="Finds cloud patterns in satellite images.",
        epilog=f"Example:\n  {start}train --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    made = whole.add_subparsers(
        dest="command", title="commands", metavar="COMMAND", parser_class=Parser
    )
    each = {}
    for name, settings in commands.items():
        description, _, example = settings.__doc__.partition("\n\n")
        each[name] = made.add_parser(
            name,
            prog=f"{start}{name}",
            usage=_usage(f"{start}{name}", settings),
            description=description,
            help=description,
            epilog=textwrap.dedent(example).strip().replace("bin/", start),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
        )
        _add_fields(each[name], settings)
        _add_general(each[name])
    general = whole.add_argument_group("flags")
    _add_help_and_version(general)
    general.add_argument(
        "--print-completion",
        choices=("bash", "zsh", "fish"),
        metavar="SHELL",
        help="print what makes bash, zsh or fish complete the commands and their flags",
    )
    return whole, each


def unknown(rest: list[str], parser: Parser) -> str:
    """Says which arguments a parser does not know, and what may have been meant.

    Args:
      rest: what it left over.
      parser: of the command.

    Returns:
      A message.
    """
    flags = [word.partition("=")[0] for word in rest if word.startswith("-")]
    known = [flag for action in parser._actions for flag in action.option_strings]
    if not flags:
        near = ""
        if Path(rest[0]).suffix and "--images" in known:
            near = ". A glob must stand in quotes"
        elif Path(rest[0]).is_dir() and "--run" in known:
            near = f". Did you mean --run {rest[0]}?"
        return f"unknown argument '{rest[0]}'{near}"
    return f"unknown flag {flags[0]}.{did_you_mean(flags[0], known)}".rstrip(".")


def _start() -> str:
    """How commands were started: by the console script, or from bin."""
    return "clouds " if Path(sys.argv[0]).name == "clouds" else "bin/"


def _fields(settings: type) -> list[dataclasses.Field]:
    """The fields of a command, before those that it shares with others."""
    own = settings.__annotations__
    return sorted(dataclasses.fields(settings), key=lambda field: field.name not in own)


def _usage(prog: str, settings: type) -> str:
    hints = fields.hints(settings)
    words = [prog]
    for field in _fields(settings):
        if field.metadata.get("positional"):
            words.append(_place(field, hints[field.name]))
        elif field.default is dataclasses.MISSING:
            words.append(f"{fields.name(field)} {_metavar(hints[field.name])}")
    return " ".join([*words, "[flags]"])


def _place(field: dataclasses.Field, hint) -> str:
    """How `--help` shows what is given by its place."""
    name = fields.name(field)
    return f"{name} [{name} ...]" if fields.several(hint) else name


def _metavar(hint) -> str:
    metavar = fields.form(hint).metavar
    return f"{metavar} [{metavar} ...]" if fields.several(hint) else metavar


def _add_fields(parser: Parser, settings: type) -> None:
    hints = fields.hints(settings)
    group = parser.add_argument_group("flags")
    for field in _fields(settings):
        if field.metadata["help"] is None:
            continue
        if section := field.metadata.get("section"):
            group = parser.add_argument_group(section)
        positional = field.metadata.get("positional")
        added = group.add_argument(
            field.name if positional else fields.name(field),
            help=_help(field, hints[field.name]),
            default=argparse.SUPPRESS,
            **_options(field, hints[field.name]),
        )
        if words := fields.choices(hints[field.name]):
            added.completer = lambda words=words, **_: words
        if earlier := field.metadata.get("renamed_from"):
            group.add_argument(
                f"--{earlier.replace('_', '-')}",
                dest=field.name,
                help=argparse.SUPPRESS,
                default=argparse.SUPPRESS,
                **_options(field, hints[field.name]),
            )


def _options(field: dataclasses.Field, hint) -> dict:
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if field.metadata.get("positional"):
        # Left out here, it may still be in a file.
        nargs = "*" if fields.several(hint) else "?"
        return {"nargs": nargs, "metavar": fields.name(field)}
    nargs = "+" if fields.several(hint) else None
    return {"nargs": nargs, "metavar": fields.form(hint).metavar}


def _help(field: dataclasses.Field, hint) -> str:
    # argparse formats it once more.
    text = field.metadata["help"].replace("%", "%%")
    if field.default is dataclasses.MISSING:
        return f"{text} (required)"
    if field.default is None:
        return text
    return f"{text} (default: {fields.shown(field.default, hint)})"


def _add_general(parser: Parser) -> None:
    group = parser.add_argument_group("general")
    group.add_argument(
        "--config",
        metavar="FILE",
        help="YAML or JSON with settings by the names of the flags, which win over it; "
        "config.json of a run is one",
    )
    group.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings, from --config, flags and defaults, as YAML for "
        "--config, and do no more",
    )
    group.add_argument(
        "--log-level",
        choices=LEVELS,
        metavar=f"{{{','.join(LEVELS)}}}",
        help="of what is logged to stderr, by TensorFlow and other libraries too, C++ "
        "included; info has a line a minute on how far a long command is, where there "
        "is no terminal to show a bar (default: these lines and warnings, and nothing "
        "of C++)",
    )
    group.add_argument("--debug", action="store_true", help="show where an error arose")
    _add_help_and_version(group)


def _add_help_and_version(group) -> None:
    group.add_argument(
        "--version",
        action="version",
        version=__version__,
        help="print the version and do no more",
    )
    group.add_argument("-h", "--help", action="help", help="print this and do no more")
