"""Reads satellite, date and box from the name of an image.

`Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg` is of the satellite Aqua, of 5
February 2015, from 61 to 40 degrees west and from 10 to 24 degrees north: such are the
names of Rasp et al. (2020). Of any other name, a date such as `2020-02-01` is read.
"""

import datetime
import re
from typing import NamedTuple

from clouds.config.fields import Box
from clouds.errors import InputError

_NUMBER = r"-?\d+(?:\.\d+)?"
_FULL = re.compile(
    rf"(?P<satellite>[A-Za-z][A-Za-z0-9-]*)_(?P<variable>\w*?)_?(?P<date>\d{{8}})"
    rf"_(?P<west>{_NUMBER})-(?P<east>{_NUMBER})_(?P<south>{_NUMBER})-(?P<north>{_NUMBER})"
    r"(?:\.[A-Za-z]+)?"
)
_DATE = re.compile(r"(?<!\d)(\d{4}-\d\d-\d\d)(?!\d)")


class Name(NamedTuple):
    """Satellite, time and box that a name gives.

    Attributes:
      box: west, south, east, north in degrees, not checked; None if not in the name.
      time: date, `2015-02-05`; None if not in the name.
      satellite: name of the satellite; None if not in the name.
    """

    box: Box | None = None
    time: str | None = None
    satellite: str | None = None


def parse(name: str) -> Name:
    """Parses the name of an image.

    Args:
      name: file name, with or without its suffix.

    Raises:
      InputError: the name has the form above, with an impossible date.
    """
    full = _FULL.fullmatch(name)
    if not full:
        date = _DATE.search(name)
        return Name(time=date and _date(date[1]))
    date = _date(full["date"])
    if date is None:
        raise InputError(
            f"{name} has an impossible date, {full['date']}. Expected YYYYMMDD. Rename "
            "the image, or give its place in --places."
        )
    box = tuple(float(full[side]) for side in ("west", "south", "east", "north"))
    return Name(box, date, full["satellite"])


def _date(text: str) -> str | None:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return None
