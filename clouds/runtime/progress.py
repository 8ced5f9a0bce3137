"""Progress of long work: a bar on a terminal, otherwise a logged line per minute."""

import logging
import sys
from collections.abc import Iterable

from tqdm import tqdm

_LOG = logging.getLogger(__name__)

_SECONDS = 60
_LINE = (
    "{desc}: {n_fmt} of {total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}"
)


def bar(
    iterable: Iterable | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
) -> tqdm:
    """Shows progress on stderr; work of less than a minute logs no line.

    Args:
      iterable: items to iterate over; without it, call `update`.
      desc: name of the work.
      unit: singular of what is counted.
      total: number of items (default: that of the iterable).
      initial: number of items done before.

    Returns:
      An iterable and context manager with `update`.
    """
    counts = {"total": total, "initial": initial}
    if sys.stderr.isatty():
        return tqdm(iterable, desc=desc, unit=unit, **counts)
    return lines(iterable, desc=desc, unit=unit, **counts)


def lines(iterable: Iterable | None = None, *, unit: str, **options) -> tqdm:
    """Logs progress, also on a terminal.

    Args:
      iterable: as for `bar`.
      unit: as for `bar`.
      **options: as for `bar`, and other options of tqdm.

    Returns:
      As for `bar`.
    """
    return tqdm(
        iterable,
        file=_LoggedLines(),
        bar_format=_LINE,
        unit=f" {unit}s",
        mininterval=_SECONDS,
        delay=_SECONDS,
        miniters=1,
        position=0,
        leave=False,
        **options,
    )


def write(text: str) -> None:
    """Writes a line to stderr, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class _LoggedLines:
    """A stream whose lines are logged."""

    def write(self, text: str) -> None:
        if line := " ".join(text.split()):
            _LOG.info(line)

    def flush(self) -> None:
        """Does nothing: log handlers flush themselves."""
