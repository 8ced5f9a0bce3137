"""The commands: flags from `clouds.config`, then one call.

Exit codes: 0 done, 1 a fault of the program, 2 a mistake of the user (one line
says which; `--debug` shows where), 3 done, but some input could not be read (the
output says which), 130 interrupted, 141 when nobody reads the output any more.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from clouds import config
from clouds.cli import parser as command_parser
from clouds.errors import InputError, MissingError, did_you_mean
from clouds.runtime import files, interrupts, startup

COMMANDS = {
    "make_scenes": (config.Sample, "clouds.data.make_scenes", "write"),
    "describe": (config.Description, "clouds.report.describe", "describe"),
    "make_tfrecords": (config.Records, "clouds.data.make_tfrecords", "convert"),
    "train": (config.Training, "clouds.training.train", "train"),
    "evaluate": (config.Evaluation, "clouds.evaluation.evaluate", "evaluate"),
    "report": (config.Report, "clouds.report.report", "report"),
    "compare": (config.Comparison, "clouds.report.compare", "compare"),
    "predict": (config.Prediction, "clouds.prediction.predict", "predict"),
    "export": (config.Export, "clouds.export.export", "export"),
    "serve": (config.Serving, "clouds.serving.serve", "serve"),
    "request": (config.Request, "clouds.client.request", "request"),
    "submit-check": (
        config.SubmissionCheck,
        "clouds.prediction.submission_check",
        "check",
    ),
}

_THAT_GO_ON = ("make_scenes", "make_tfrecords", "predict", "request")
_GOES_ON = ". The same command goes on."

_OF_SERVING = ("grpc", "httpx", "orjson", "prometheus_client", "starlette")
_OF_SERVING += ("tensorflow_serving", "uvicorn")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: a command of `COMMANDS` and its flags; those of the process if
        None.

    Returns:
      The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    whole, each = command_parser.parsers(
        {name: row[0] for name, row in COMMANDS.items()}
    )
    if "_ARGCOMPLETE" in os.environ:
        _complete(each.get(arguments[0], whole) if arguments else whole)
    given = _parse(arguments, whole, each)
    command, shell = given.pop("command"), given.pop("print_completion")
    if shell:
        print(_completion(shell))
        return 0
    if command is None:
        whole.print_help(sys.stderr)
        return 2
    return _run(command, given)


def _parse(arguments: list[str], whole: command_parser.Parser, each: dict) -> dict:
    command = arguments[0] if arguments else ""
    if command not in COMMANDS and command.strip("-") == command != "":
        near = did_you_mean(command, COMMANDS)
        whole.error(f"unknown command '{command}'.{near}".rstrip("."))
    given, rest = whole.parse_known_args(arguments)
    if rest:
        parser = each.get(command, whole)
        parser.error(command_parser.unknown(rest, parser))
    return vars(given)


def _run(command: str, given: dict) -> int:
    settings, module, function = COMMANDS[command]
    debug, printed = given.pop("debug"), given.pop("print_config")
    file, level = given.pop("config"), given.pop("log_level")
    startup.log_from(level)
    interrupted = f"{command}: interrupted" + _GOES_ON * (command in _THAT_GO_ON)
    chosen = None
    try:
        known = config.gather(settings, given, file)
        if printed:
            _print(settings, known, file)
            return 0
        chosen = config.make(settings, known, file)
        with interrupts.ending(interrupted):
            loaded = _load(command, module)
        with interrupts.raising():
            returned = getattr(loaded, function)(chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read has had enough, such as `head`; Python would write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return interrupts.EXIT_CODE
    except Exception as error:
        full = files.is_full(error) and not isinstance(error, InputError)
        known = isinstance(error, (InputError, OSError)) or _is_remote(error)
        if debug or not (full or known):
            raise
        message = _no_room(error, chosen) if full else _one_line(error)
        print(f"{command}: error: {message}", file=sys.stderr)
        return 2
    return returned if isinstance(returned, int) else 0


def _print(settings: type, known: dict, file: str | None) -> None:
    """Prints settings; what they lack can be given with them."""
    with contextlib.suppress(MissingError):
        config.make(settings, known, file)
    print(config.as_yaml(settings, known), end="", flush=True)


def _load(command: str, module: str) -> ModuleType:
    try:
        return startup.load(module)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "clouds":
            raise
        extra = " serving" * (error.name in _OF_SERVING)
        raise InputError(
            f"bin/{command} needs the packages that bin/setup{extra} installs. "
            f"Received: no {error.name}. Run bin/setup{extra}."
        ) from error


def _is_remote(error: Exception) -> bool:
    """Whether TensorFlow did not get at a file elsewhere, such as one of a bucket."""
    tf = sys.modules.get("tensorflow")
    return tf and isinstance(error, tf.errors.OpError) and "://" in error.message


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())


def _no_room(error: Exception, settings) -> str:
    outs = [getattr(settings, name, None) for name in ("out", "run")]
    places = [getattr(error, "filename", None), *outs, tempfile.gettempdir()]
    place, free = files.fullest([path for path in places if isinstance(path, str)])
    return (
        f"The disk must have room for what is written. Received: '{place}', with "
        f"{free / 1e6:,.1f} MB free. Make room and run the same command again: it goes "
        "on where it can."
    )


def _complete(parser: command_parser.Parser) -> None:
    """Answers a shell that asks how the words so far may go on; ends the process."""
    import argcomplete

    argcomplete.autocomplete(parser)


def _completion(shell: str) -> str:
    import argcomplete

    scripts = Path(__file__).parents[2] / "bin"
    names = [name for name in ("clouds", *COMMANDS) if (scripts / name).exists()]
    if shell == "fish":
        # Fish knows a script that is not on the PATH by its path.
        names = [str(scripts / name) for name in names]
    return argcomplete.shellcode(dict.fromkeys(["clouds", *names]), shell=shell)


if __name__ == "__main__":
    sys.exit(main())
