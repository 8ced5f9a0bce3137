"""What settings are made of: fields that become flags, their types, their checks."""

import dataclasses
import os
from typing import Literal

from clouds.errors import InputError

Size = tuple[int, int]
Names = tuple[str, ...]
Numbers = tuple[float, ...]
Box = tuple[float, float, float, float]
Decode = Literal["reduced", "exact"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Split = Literal["train", "val"]

CORES = os.cpu_count() or 1


def flag(help_text: str, default=dataclasses.MISSING, *, section: str | None = None):
    """A field that is a flag.

    Args:
      help_text: what `--help` says of it.
      default: its value where it is not given; without one it must be.
      section: heading of `--help` that begins with this flag, for it and those
        after it.
    """
    metadata = {"help": help_text, "section": section}
    return dataclasses.field(default=default, metadata=metadata)


def positional(help_text: str):
    """A field that is given by its place."""
    return dataclasses.field(metadata={"help": help_text, "positional": True})


def kept(default):
    """A field that no flag sets: the program fills it in, and it is stored."""
    return dataclasses.field(default=default, metadata={"help": None})


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
            received = "x".join(map(str, numbers))
            raise InputError(f"--{given} {expected}. Received: {received}.")
