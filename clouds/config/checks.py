"""Checks of settings, and of settings against files."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from clouds.config.fields import Box, form, hints, name, shown
from clouds.errors import InputError
from clouds.schema import MOST_BANDS, MOST_LABELS

_RESERVED = {"mean", "none", "image", "edges"}
_PATHS = {
    "FILE": ("file", "folder", Path.is_dir),
    "DIR": ("folder", "file", Path.is_file),
}


def check_paths(settings) -> None:
    """Rejects a folder in place of a file, a file in place of a folder, remote paths.

    Raises:
      InputError: a path is of the wrong kind, or remote where it must be local.
    """
    types = hints(type(settings))
    for field in dataclasses.fields(settings):
        written, value = form(types[field.name]), getattr(settings, field.name)
        if not value or written.metavar not in _PATHS:
            continue
        expected, other, is_other = _PATHS[written.metavar]
        for path in value if isinstance(value, tuple) else (value,):
            if written.local and "://" in path:
                raise InputError(
                    f"{name(field)} must be a {expected} on this machine. Received: "
                    f"'{path}'. Give a local path, and copy the files to their "
                    "destination afterwards."
                )
            if is_other(Path(path)):
                raise InputError(
                    f"{name(field)} must be a {expected}. Received: '{path}', which is "
                    f"a {other}. Give another path."
                )


def positive(settings, *names: str) -> None:
    """Rejects values of these fields that are not above 0."""
    check(settings, names, "must be above 0", lambda value: value > 0)


def not_negative(settings, *names: str) -> None:
    """Rejects values of these fields below 0."""
    check(settings, names, "must be 0 or more", lambda value: value >= 0)


def within_one(settings, *names: str) -> None:
    """Rejects values of these fields outside 0 to 1."""
    check(settings, names, "must be from 0 to 1", lambda value: 0 <= value <= 1)


def check(settings, names: tuple[str, ...], expected: str, is_valid) -> None:
    """Rejects invalid values of fields.

    Args:
      settings: settings with these fields.
      names: names of the fields; each number of a field with several is checked.
      expected: requirement, for the error, such as "must be below 1".
      is_valid: function from a number to whether it is valid.

    Raises:
      InputError: a value is invalid.
    """
    for field_name in names:
        value = getattr(settings, field_name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(map(is_valid, numbers)):
            received = shown(value, hints(type(settings))[field_name])
            raise InputError(
                f"--{field_name.replace('_', '-')} {expected}. Received: {received}."
            )


def check_apart(out: str, *images: str | None) -> None:
    """Rejects the folder of the images as the folder for the output.

    Raises:
      InputError: they are the same; pictures written there would become images.
    """
    for path in images:
        if path and Path(path).is_dir() and Path(path).resolve() == Path(out).resolve():
            raise InputError(
                f"--out must be another folder than --images. Received: '{out}' for "
                "both. Give a new folder: pictures written there would be read as "
                "images next time."
            )


def check_box(box: Box) -> None:
    """Rejects an invalid bounding box.

    Raises:
      InputError: degrees out of range, or no area.
    """
    if not is_box(box):
        raise InputError(
            "--bbox must be west,south,east,north: longitudes from -180 to 180, "
            "latitudes from -90 to 90, south below north. Received: "
            f"{shown(box, Box)}."
        )


def is_box(box: Box) -> bool:
    """Returns whether a bounding box is possible, in degrees, and has an area."""
    west, south, east, north = box
    # A box across the antimeridian has its east below its west; its two longitudes,
    # -180 and 180, are one meridian.
    longitudes = -180 <= west <= 180 and -180 <= east <= 180 and west != east
    return longitudes and -90 <= south < north <= 90


def transposed(size: tuple[int, int], other: tuple[int, int], what: str) -> str | None:
    """Returns a warning if --size seems to be width x height.

    Args:
      size: height and width that were given.
      other: height and width of the images that are resized to it.
      what: name of these images, in the plural.

    Returns:
      The warning if one size is upright and the other wide, else None.
    """
    (height, width), (other_height, other_width) = size, other
    if (height - width) * (other_height - other_width) >= 0:
        return None
    shapes = ("upright", "wide") if height > width else ("wide", "upright")
    return (
        f"--size should be height x width. Received: {height}x{width}, which is "
        f"{shapes[0]}, while {what} are {shapes[1]}, {other_height}x{other_width}: "
        f"images will be squeezed. Did you mean {width}x{height}?"
    )


def check_bands(names: Iterable[str], source: str) -> tuple[str, ...]:
    """Checks names of bands.

    Args:
      names: names, in the order of the bands.
      source: flag that gives them, for the error.

    Returns:
      The names.

    Raises:
      InputError: there are none or too many, or a name is empty or repeated.
    """
    names = tuple(name.strip() for name in names)
    if not 1 <= len(names) <= MOST_BANDS or not all(names):
        raise InputError(
            f"{source} must be 1 to {MOST_BANDS} names. Received: {', '.join(names)}."
        )
    if len(set(names)) < len(names):
        raise InputError(
            f"{source} must be different names. Received: {', '.join(names)}."
        )
    return names


def separated(values: Iterable[str]) -> tuple[str, ...]:
    """Returns names that were given as `A,B,C`, `A B C` or a list."""
    return tuple(",".join(values).split(","))


def check_labels(labels: Iterable[str], source: str) -> tuple[str, ...]:
    """Checks names of labels.

    Args:
      labels: names, in the order of the channels.
      source: flag or file that gives them, for the error.

    Returns:
      The names.

    Raises:
      InputError: there are none or too many, or a name is repeated or not usable in a
        file name and as the name of a metric.
    """
    labels = tuple(labels)
    if not 1 <= len(labels) <= MOST_LABELS:
        raise InputError(
            f"{source}: there must be 1 to {MOST_LABELS} labels. Received: "
            f"{len(labels)}."
        )
    seen = set()
    for label in labels:
        problem = None
        if not re.fullmatch(r"\w[\w .+-]{0,39}", label) or label != label.strip():
            problem = "needs 1 to 40 letters, digits, blanks or . _ + -"
        elif label.lower() in _RESERVED:
            problem = "has another meaning in tables"
        elif label.lower() in seen:
            problem = "is repeated"
        if problem:
            name = f"the label '{label[:60]}'"
            raise InputError(f"{source}: {name} {problem}. Rename it.")
        seen.add(label.lower())
    return labels
