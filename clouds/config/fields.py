"""What settings are made of: fields that become flags, their types, their checks."""

import dataclasses
import json
import os
import types
import typing
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from clouds.errors import InputError, did_you_mean


class Form(NamedTuple):
    """How a value is written.

    Attributes:
      metavar: its place in `--help`.
      expected: what it must be, for a message.
      separator: between its numbers, if it has several.
      local: whether it is a path on this machine, not one in a bucket.
    """

    metavar: str
    expected: str
    separator: str | None = None
    local: bool = False


File = Annotated[str, Form("FILE", "a path")]
Folder = Annotated[str, Form("DIR", "a path")]
LocalFile = Annotated[str, Form("FILE", "a path", local=True)]
LocalFolder = Annotated[str, Form("DIR", "a path", local=True)]
Place = Annotated[str, Form("PATH", "a path")]
Address = Annotated[str, Form("ADDRESS:PORT", "an address and a port")]
Json = Annotated[str, Form("JSON", "JSON as text")]
Size = Annotated[
    tuple[int, int], Form("HxW", "height x width, such as 320x480", separator="x")
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
Places = tuple[Place, ...]
Numbers = tuple[float, ...]
Decode = Literal["reduced", "exact"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Split = Literal["train", "val"]

IMAGES = (
    "an image, a folder or zip of images, a quoted glob, or a .txt with a path a line"
)
"""What --images takes, for `--help` and for messages."""
IMAGES_ASKED = (
    "folders, zips, files, URLs of images, quoted globs, or a .txt with a path a line"
)
"""The same, of bin/request."""

CORES = os.cpu_count() or 1

_FORMS = {
    bool: Form("", "true or false"),
    int: Form("N", "a whole number"),
    float: Form("X", "a number"),
    str: Form("TEXT", "text"),
}
_KINDS = {
    "FILE": ("file", "folder", Path.is_dir),
    "DIR": ("folder", "file", Path.is_file),
}


def flag(
    help_text: str,
    default=dataclasses.MISSING,
    *,
    section: str | None = None,
    renamed_from: str | None = None,
):
    """Returns a field that is a flag.

    Args:
      help_text: text for `--help`.
      default: value if the flag is not given; without one the flag is required.
      section: heading in `--help` for this flag and those after it.
      renamed_from: earlier name of the field. Flags and files may still use it;
        `--help` does not show it.
    """
    metadata = {"help": help_text, "section": section, "renamed_from": renamed_from}
    return dataclasses.field(default=default, metadata=metadata)


def positional(help_text: str):
    """A field that is given by its place."""
    return dataclasses.field(metadata={"help": help_text, "positional": True})


def kept(default):
    """A field that no flag sets: the program fills it in, and it is stored."""
    return dataclasses.field(default=default, metadata={"help": None})


def hints(settings: type) -> dict:
    """The type of each field, as `form`, `choices` and `read` take it."""
    return typing.get_type_hints(settings, include_extras=True)


def name(field: dataclasses.Field) -> str:
    """What a field is called where it is given."""
    if field.metadata.get("positional"):
        return field.name.upper()
    return f"--{field.name.replace('_', '-')}"


def choices(hint) -> tuple[str, ...]:
    """The words that a value must be one of; none where it need not."""
    hint = _given(hint)
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def several(hint) -> bool:
    """Whether a field takes any number of values."""
    return typing.get_args(_given(hint))[-1:] == (Ellipsis,)


def form(hint) -> Form:
    """How a value of this type is written, one of several if it takes more."""
    hint = _given(hint)
    if words := choices(hint):
        return Form(f"{{{','.join(words)}}}", f"{', '.join(words[:-1])} or {words[-1]}")
    if several(hint):
        return form(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Annotated:
        return hint.__metadata__[0]
    return _FORMS[hint]


def shown(value, hint) -> str:
    """A value of this type as one would give it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return (form(hint).separator or " ").join(shown(part, hint) for part in value)
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def read(given, hint, place: str):
    """Makes of what a flag or a file gives what a field holds.

    Args:
      given: text, or what YAML and JSON make of it.
      hint: the field's type.
      place: where it was given, for the message.

    Returns:
      The value.

    Raises:
      InputError: it is of another type, or none of the field's choices.
    """
    if given is None and types.NoneType in typing.get_args(hint):
        return None
    try:
        return _read(given, _given(hint))
    except (ValueError, TypeError):
        near = did_you_mean(str(given), choices(hint))
        received = f"'{given}'" if isinstance(given, str) else _as_json(given)
        raise InputError(
            f"{place} must be {form(hint).expected}. Received: {received}.{near}"
        ) from None


def _given(hint):
    """The type of a field that may be None, where it is not."""
    options = typing.get_args(hint)
    return options[0] if types.NoneType in options else hint


def _read(given, hint):
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
        return tuple(_read(one, k) for one, k in zip(given, kinds, strict=True))
    if hint is Json and not isinstance(given, str):
        return _as_json(given)
    # YAML reads 1e-4, which has no point, as text.
    if isinstance(given, str) and kind in (int, float):
        return kind(given)
    if type(given) not in ((int, float) if kind is float else (kind,)):
        raise TypeError
    return given


def _as_json(given) -> str:
    return json.dumps(given, default=str)


def check_paths(settings) -> None:
    """Refuses a folder in place of a file, the other way round, and far ones.

    Raises:
      InputError: a field of one kind has the path of something else, or one of this
        machine that of a bucket.
    """
    of_all = hints(type(settings))
    for field in dataclasses.fields(settings):
        written, value = form(of_all[field.name]), getattr(settings, field.name)
        if not value or written.metavar not in _KINDS:
            continue
        expected, other, is_other = _KINDS[written.metavar]
        for path in value if isinstance(value, tuple) else (value,):
            if written.local and "://" in path:
                raise InputError(
                    f"{name(field)} must be a {expected} on this machine. Received: "
                    f"'{path}'. Give a path here, and copy what is to be elsewhere."
                )
            if is_other(Path(path)):
                raise InputError(
                    f"{name(field)} must be a {expected}. Received: '{path}', which is "
                    f"a {other}. Give another path."
                )


def positive(settings, *names: str) -> None:
    """Refuses values of these fields that are not above 0."""
    check(settings, names, "must be above 0", lambda value: value > 0)


def not_negative(settings, *names: str) -> None:
    """Refuses values of these fields below 0."""
    check(settings, names, "must be 0 or more", lambda value: value >= 0)


def within_one(settings, *names: str) -> None:
    """Refuses values of these fields outside 0 to 1."""
    check(settings, names, "must be from 0 to 1", lambda value: 0 <= value <= 1)


def check(settings, names: tuple[str, ...], expected: str, holds) -> None:
    """Refuses values of these fields for which something does not hold.

    Args:
      settings: that have the fields.
      names: of the fields; of a field of several numbers each is checked.
      expected: what the message says of the flag, such as "must be below 1".
      holds: from a number to whether it may be.

    Raises:
      InputError: it does not hold for one of them.
    """
    for name in names:
        value = getattr(settings, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(map(holds, numbers)):
            given = name.replace("_", "-")
            received = shown(value, hints(type(settings))[name])
            raise InputError(f"--{given} {expected}. Received: {received}.")
