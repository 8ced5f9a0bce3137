"""The commands: parses flags into settings and calls the function of the command.

Exit codes: 0 success; 1 a fault of the program; 2 a user's mistake, reported in one
line (`--debug` shows the traceback); 3 finished, but some input could not be read (the
output names it); 130 interrupted; 141 nobody reads the output any more.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TextIO

from clouds.cli import parser
from clouds.config import resolve
from clouds.config.archive import Archive
from clouds.config.data import Description, Records, Sample
from clouds.config.prediction import Evaluation, Export, Prediction, SubmissionCheck
from clouds.config.presentation import Agreement, Climatology, Comparison, Report
from clouds.config.serving import Request, Serving
from clouds.config.training import Training
from clouds.errors import InputError, MissingError, did_you_mean
from clouds.runtime import files, interrupts, startup

COMMANDS = {
    "make_scenes": (Sample, "clouds.data.make_scenes", "write"),
    "describe": (Description, "clouds.report.describe", "describe"),
    "make_tfrecords": (Records, "clouds.data.make_tfrecords", "convert"),
    "train": (Training, "clouds.training.train", "train"),
    "evaluate": (Evaluation, "clouds.evaluation.evaluate", "evaluate"),
    "agreement": (Agreement, "clouds.evaluation.agreement.agree", "measure"),
    "climatology": (Climatology, "clouds.climatology.climatology", "compute"),
    "report": (Report, "clouds.report.report", "report"),
    "compare": (Comparison, "clouds.report.compare", "compare"),
    "predict": (Prediction, "clouds.prediction.predict", "predict"),
    "predict-archive": (Archive, "clouds.archive.predict_archive", "predict"),
    "export": (Export, "clouds.export.export", "export"),
    "serve": (Serving, "clouds.serving.serve", "serve"),
    "request": (Request, "clouds.client.request", "request"),
    "submit-check": (SubmissionCheck, "clouds.prediction.submission_check", "check"),
}

_RESUMABLE = ("make_scenes", "make_tfrecords", "train", "predict", "request")
_RESUMABLE += ("predict-archive",)

_SERVING_PACKAGES = ("grpc", "httpx", "orjson", "prometheus_client", "starlette")
_SERVING_PACKAGES += ("tenacity", "tensorflow_serving", "uvicorn")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: a command of `COMMANDS` and its flags; default: those of the process.

    Returns:
      The exit code.
    """
    startup.open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    main_parser, parsers = parser.build(
        {name: row[0] for name, row in COMMANDS.items()}
    )
    if "_ARGCOMPLETE" in os.environ:
        _complete(parsers.get(arguments[0], main_parser) if arguments else main_parser)
    flags = _parse(arguments, main_parser, parsers)
    command, shell = flags.pop("command"), flags.pop("print_completion")
    if shell:
        return _print_completion(shell)
    if command is None:
        main_parser.print_help(sys.stderr)
        return 2
    return _run(command, flags)


def _parse(arguments: list[str], main_parser: parser.Parser, parsers: dict) -> dict:
    command = arguments[0] if arguments else ""
    if command not in COMMANDS and command.strip("-") == command != "":
        suggestion = did_you_mean(command, COMMANDS)
        main_parser.error(f"unknown command '{command}'.{suggestion}".rstrip("."))
    flags, rest = main_parser.parse_known_args(arguments)
    if rest:
        own_parser = parsers.get(command, main_parser)
        own_parser.error(own_parser.unknown(rest))
    return vars(flags)


def _run(command: str, flags: dict) -> int:
    settings_type, module, function = COMMANDS[command]
    debug, print_only = flags.pop("debug"), flags.pop("print_config")
    file = flags.pop("config")
    startup.log_from(flags.pop("log_level"))
    interrupted = f"{command}: interrupted."
    if command in _RESUMABLE:
        interrupted += " Run the same command again to resume."
    settings = None
    try:
        values = resolve.gather(settings_type, flags, file)
        if print_only:
            _print_config(settings_type, values, file)
            return 0
        settings = resolve.make(settings_type, values, file)
        with interrupts.exiting(interrupted):
            loaded = _load(command, module)
        with interrupts.raising():
            code = getattr(loaded, function)(settings)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has left.
        _discard(sys.stdout)
        return 141
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return interrupts.EXIT_CODE
    except Exception as error:
        message = _fault_of_stdout(error)
        message = message or (None if debug else _message(error, settings))
        if message is None:
            raise
        try:
            print(f"{command}: error: {message}", file=sys.stderr, flush=True)
        except OSError:
            _discard(sys.stderr)
        return 2
    return code if isinstance(code, int) else 0


def _print_config(settings_type: type, values: dict, file: str | None) -> None:
    # Missing values may be given with the printed ones.
    with contextlib.suppress(MissingError):
        resolve.make(settings_type, values, file)
    print(resolve.as_yaml(settings_type, values), end="", flush=True)


def _load(command: str, module: str) -> ModuleType:
    try:
        return startup.load(module)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "clouds":
            raise
        extra = " serving" * (error.name in _SERVING_PACKAGES)
        raise InputError(
            f"{error.name} is not installed, which bin/{command} needs. Run "
            f"bin/setup{extra}."
        ) from error


def _discard(stream: TextIO) -> None:
    # Python would try to write at its exit, and fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fault_of_stdout(error: Exception) -> str | None:
    """Returns the line for an error of writing to stdout; None for other errors."""
    if not isinstance(error, OSError) or not error.errno or error.filename:
        return None
    try:
        # Python has dropped what it could not write.
        print(flush=True)
    except OSError as again:
        _discard(sys.stdout)
        return f"Standard output cannot be written: {again.strerror}."
    return None


def _message(error: Exception, settings) -> str | None:
    """Returns the line for an error that the user can mend; None for other errors."""
    if isinstance(error, InputError):
        return _in_one_line(error)
    if files.is_full(error):
        return _disk_full(error, settings)
    if files.is_too_large(error):
        return (
            f"{_in_one_line(error)}. A file exceeds the limit of this process (see "
            "ulimit -f) or of its disk. Raise the limit, or give a path on another "
            "disk, and run the same command again."
        )
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, OSError) or _is_of_file(error):
        return _in_one_line(error)
    return None


def _is_of_file(error: Exception) -> bool:
    """Returns whether TensorFlow could not access a file, as in a bucket."""
    tf = sys.modules.get("tensorflow")
    if not tf or not isinstance(error, tf.errors.OpError):
        return False
    return "://" in error.message or isinstance(error, tf.errors.PermissionDeniedError)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _disk_full(error: Exception, settings) -> str:
    outputs = [getattr(settings, name, None) for name in ("out", "run")]
    paths = [getattr(error, "filename", None), *outputs, tempfile.gettempdir()]
    path, free = files.fullest([path for path in paths if isinstance(path, str)])
    return (
        f"The disk of '{path}' is full: {free / 1e6:,.1f} MB are free. Free some space "
        "and run the same command again; it resumes if it can."
    )


def _complete(own_parser: parser.Parser) -> None:
    """Answers a shell's request for completions, and ends the process."""
    import argcomplete

    argcomplete.autocomplete(own_parser)


def _print_completion(shell: str) -> int:
    try:
        import argcomplete
    except ModuleNotFoundError:
        print(
            "clouds: error: argcomplete is not installed. Run bin/setup completion.",
            file=sys.stderr,
        )
        return 2
    scripts = Path(__file__).parents[2] / "bin"
    names = [name for name in ("clouds", *COMMANDS) if (scripts / name).exists()]
    if shell == "fish":
        # Fish identifies a script that is not on the PATH by its path.
        names = [str(scripts / name) for name in names]
    print(argcomplete.shellcode(dict.fromkeys(["clouds", *names]), shell=shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
