"""The commands: flags from `clouds.config`, then one call.

Exit codes: 0 done, 1 a fault of the program, 2 a mistake of the user (one line
says which; `--debug` shows where), 3 done, but some input could not be read (the
output says which), 130 interrupted.
"""

import argparse
import dataclasses
import inspect
import sys
import types
import typing

from clouds import __version__, config, startup
from clouds.errors import InputError

COMMANDS = {
    "make_scenes": (config.Sample, "clouds.sample", "write"),
    "describe": (config.Description, "clouds.statistics", "describe"),
    "make_tfrecords": (config.Records, "clouds.convert", "convert"),
    "train": (config.Training, "clouds.train", "train"),
    "evaluate": (config.Evaluation, "clouds.evaluate", "evaluate"),
    "predict": (config.Prediction, "clouds.predict", "predict"),
    "submit-check": (config.SubmissionCheck, "clouds.submissions", "check"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: a command of `COMMANDS` and its flags; those of the process if
        None.

    Returns:
      The exit code.
    """
    flags = vars(_parser().parse_args(arguments))
    command, debug = flags.pop("command"), flags.pop("debug")
    settings, module, function = COMMANDS[command]
    try:
        chosen = config.from_flags(settings, flags)
        returned = getattr(startup.load(module), function)(chosen)
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130
    except (InputError, OSError) as error:
        if debug:
            raise
        print(f"{command}: error: {_one_line(error)}", file=sys.stderr)
        return 2
    return returned if isinstance(returned, int) else 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clouds", description="Finds cloud patterns in satellite images."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (settings, _, _) in COMMANDS.items():
        description, _, example = settings.__doc__.partition("\n\n")
        command = commands.add_parser(
            name,
            prog=f"bin/{name}",
            description=description,
            help=description,
            epilog=inspect.cleandoc(example),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_flags(command, settings)
        command.add_argument(
            "--debug", action="store_true", help="show where an error arose"
        )
    return parser


def _add_flags(command: argparse.ArgumentParser, settings: type) -> None:
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        flag = f"--{field.name.replace('_', '-')}"
        text = field.metadata["help"]
        if text is None:
            continue
        if field.metadata.get("positional"):
            command.add_argument(field.name, help=text, metavar=field.name.upper())
            continue
        # What is not given stays out of the flags: `config` has the defaults.
        options = {"help": text, "default": argparse.SUPPRESS}
        if hints[field.name] is bool:
            command.add_argument(flag, action="store_true", **options)
            continue
        options["required"] = field.default is dataclasses.MISSING
        if not options["required"] and field.default is not None:
            options["help"] = f"{text} (default: {_shown(field.default)})"
        command.add_argument(flag, **options, **_type(hints[field.name]))


def _shown(default) -> str:
    return "x".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _type(hint) -> dict:
    if types.NoneType in typing.get_args(hint):
        hint = next(k for k in typing.get_args(hint) if k is not types.NoneType)
    if hint == config.Size:
        return {"type": _size, "metavar": "HxW"}
    if hint == config.Box:
        return {"type": _box, "metavar": "W,S,E,N"}
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": typing.get_args(hint)}
    several = {}
    if typing.get_origin(hint) is tuple:
        hint, several = typing.get_args(hint)[0], {"nargs": "+", "action": _Several}
    metavar = {str: "PATH", int: "N", float: "X"}[hint]
    return {"type": hint, "metavar": metavar, **several}


class _Several(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected height x width, such as 320x480; received '{text}'"
        ) from None
    return height, width


def _box(text: str) -> config.Box:
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            "expected west,south,east,north in degrees, such as -61,5,-50,15; "
            f"received '{text}'"
        ) from None
    return west, south, east, north


if __name__ == "__main__":
    sys.exit(main())
