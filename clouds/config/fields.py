"""Fields of settings: types, how values are written, and how they are read."""

import dataclasses
import json
import os
import types
import typing
from typing import Annotated, Literal, NamedTuple

from clouds.errors import InputError, did_you_mean


class Form(NamedTuple):
    """How a value is written.

    Attributes:
      metavar: placeholder in `--help`.
      expected: description of valid values, for errors.
      separator: separator of the numbers of one value.
      local: whether a path must be on this machine, not in a bucket.
    """

    metavar: str
    expected: str
    separator: str | None = None
    local: bool = False


_PATH = "a path"

File = Annotated[str, Form("FILE", _PATH)]
Folder = Annotated[str, Form("DIR", _PATH)]
LocalFile = Annotated[str, Form("FILE", _PATH, local=True)]
LocalFolder = Annotated[str, Form("DIR", _PATH, local=True)]
Place = Annotated[str, Form("PATH", _PATH)]
Address = Annotated[str, Form("ADDRESS:PORT", "an address and a port")]
Name = Annotated[str, Form("NAME", "a name")]
Json = Annotated[str, Form("JSON", "JSON as text")]
Size = Annotated[
    tuple[int, int], Form("HxW", "height x width, such as 320x480", separator="x")
]
Pixels = Annotated[
    tuple[int, int],
    Form("WxH", "width x height in pixels, such as 2100x1400", separator="x"),
]
Degrees = Annotated[
    tuple[float, float],
    Form("WxH", "width x height in degrees, such as 21x14", separator="x"),
]
Box = Annotated[
    tuple[float, float, float, float],
    Form(
        "W,S,E,N",
        "west,south,east,north in degrees, such as -61,5,-40,19",
        separator=",",
    ),
]
LocalFolders = tuple[LocalFolder, ...]
Files = tuple[File, ...]
Places = tuple[Place, ...]
Numbers = tuple[float, ...]
Labels = tuple[Annotated[str, Form("A,B,C", "names separated by commas")], ...]
Workflows = tuple[Annotated[str, Form("NAME", "names of workflows")], ...]
Decode = Literal["reduced", "exact"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Runner = Literal["DirectRunner", "FlinkRunner", "DataflowRunner"]
Split = Literal["train", "val"]
CsvFormat = Literal["image_label", "image_class", "image"]
MaskFormat = Literal["image_label", "image_class", "image", "coco", "png"]

IMAGES = (
    "an image, a folder or zip of images, a quoted glob, or a .txt with one path per "
    "line"
)
"""Values of --images, for `--help` and for errors."""
IMAGES_ASKED = (
    "folders, zips, files or URLs of images, quoted globs, or a .txt with one path per "
    "line"
)
"""The same for bin/request."""

BOXES = (
    "tables of boxes, optionally compressed: csv with index,path,x1,y1,x2,y2,label and "
    "no header, one file per annotator; or all annotators in one file: csv with the "
    "columns user_id or user_name, fn, x, y, width, height and tool_label, "
    "classification export of Zooniverse, or NetCDF of C3ONTEXT, level 1"
)
"""Values of --boxes."""
WORKFLOWS = (
    "workflows of a Zooniverse export that count, each as 'NAME VERSION'; required if "
    "there are several"
)

RUNNER_OPTIONS = (
    "options of the Beam runner, such as --runner-options='--flink_master=host:8081'"
)

CORES = os.cpu_count() or 1

_SHOWN = 300

_FORMS = {
    bool: Form("", "true or false"),
    int: Form("N", "an integer"),
    float: Form("X", "a number"),
    str: Form("TEXT", "text"),
}


def flag(
    help_text: str,
    default=dataclasses.MISSING,
    *,
    section: str | None = None,
    renamed_from: str | None = None,
    resumes: bool = False,
):
    """Returns a field that is a flag.

    Args:
      help_text: text for `--help`.
      default: value if the flag is not given; without one the flag is required.
      section: heading in `--help` for this flag and those after it.
      renamed_from: earlier name of the field. Flags and files may still use it;
        `--help` does not show it.
      resumes: whether this is a folder whose stored settings are the defaults.
    """
    metadata = {
        "help": help_text,
        "section": section,
        "renamed_from": renamed_from,
        "resumes": resumes,
    }
    return dataclasses.field(default=default, metadata=metadata)


def positional(help_text: str):
    """Returns a field that is a positional argument."""
    return dataclasses.field(metadata={"help": help_text, "positional": True})


def kept(default):
    """Returns a field without a flag: the program sets it, and it is stored."""
    return dataclasses.field(default=default, metadata={"help": None})


def hints(settings: type) -> dict:
    """Returns the type of each field, as `form`, `choices` and `read` take it."""
    return typing.get_type_hints(settings, include_extras=True)


def name(field: dataclasses.Field) -> str:
    """Returns the name of a field on the command line."""
    if field.metadata.get("positional"):
        return field.name.upper()
    return f"--{field.name.replace('_', '-')}"


def choices(hint) -> tuple[str, ...]:
    """Returns the allowed words of a field; empty if it is not an enumeration."""
    hint = _without_none(hint)
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def several(hint) -> bool:
    """Returns whether a field takes any number of values."""
    return typing.get_args(_without_none(hint))[-1:] == (Ellipsis,)


def form(hint) -> Form:
    """Returns how one value of a field is written."""
    hint = _without_none(hint)
    if words := choices(hint):
        return Form(f"{{{','.join(words)}}}", f"{', '.join(words[:-1])} or {words[-1]}")
    if several(hint):
        return form(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Annotated:
        return hint.__metadata__[0]
    return _FORMS[hint]


def shown(value, hint) -> str:
    """Formats a value as a user would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return (form(hint).separator or " ").join(shown(part, hint) for part in value)
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def read(given, hint, source: str):
    """Converts a value from a flag or a file to the type of its field.

    Args:
      given: text, or a value of YAML or JSON.
      hint: type of the field.
      source: flag or file that gave it, for the error.

    Raises:
      InputError: the value has another type or is not one of the choices.
    """
    if given is None and types.NoneType in typing.get_args(hint):
        return None
    try:
        return _convert(given, _without_none(hint))
    except (ValueError, TypeError, OverflowError):
        suggestion = did_you_mean(str(given), choices(hint))
        received = f"'{given}'" if isinstance(given, str) else _as_json(given)
        if len(received) > _SHOWN:
            received = f"{received[:_SHOWN]}…"
        raise InputError(
            f"{source} must be {form(hint).expected}. Received: {received}.{suggestion}"
        ) from None


def _without_none(hint):
    options = typing.get_args(hint)
    return options[0] if types.NoneType in options else hint


def _convert(given, hint):
    if words := choices(hint):
        return words[words.index(given)]
    separator = form(hint).separator
    kind = hint.__origin__ if typing.get_origin(hint) is Annotated else hint
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if several(hint):
            given = list(given) if isinstance(given, list | tuple) else [given]
            kinds = kinds[:1] * max(1, len(given))
        if isinstance(given, str):
            given = given.split(separator)
        return tuple(_convert(one, k) for one, k in zip(given, kinds, strict=True))
    if hint is Json and not isinstance(given, str):
        return _as_json(given)
    if isinstance(given, str) and form(hint).expected == _PATH:
        # A shell leaves the ~ of --out=~/x and of a file as it is.
        return os.path.expanduser(given)  # noqa: PTH111 (Path would change gs://)
    # YAML reads 1e-4, which has no point, as text.
    if isinstance(given, str) and kind in (int, float):
        return kind(given)
    if type(given) not in ((int, float) if kind is float else (kind,)):
        raise TypeError
    return given


def _as_json(given) -> str:
    return json.dumps(given, default=str)
