"""How far a command has come: a bar on a terminal, and elsewhere a line a minute.

The lines are logged, at level info. What takes less than a minute has none.
"""

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
    """Begins to show on stderr how far something is.

    Args:
      iterable: to go through; without it `update` tells what is done.
      desc: what is done.
      unit: what is counted, in the singular.
      total: how many there are; that of the iterable if None.
      initial: how many were done before.

    Returns:
      What goes through the iterable and has `update`; a context that ends it.
    """
    counted = {"total": total, "initial": initial}
    if sys.stderr.isatty():
        return tqdm(iterable, desc=desc, unit=unit, **counted)
    return lines(iterable, desc=desc, unit=unit, **counted)


def lines(iterable: Iterable | None = None, *, unit: str, **options) -> tqdm:
    """Begins to log how far something is, terminal or not.

    Args:
      iterable: as for `bar`.
      unit: as there.
      **options: as there, and others of tqdm.

    Returns:
      As `bar`.
    """
    return tqdm(
        iterable,
        file=_Lines(),
        bar_format=_LINE,
        unit=f" {unit}s",
        mininterval=_SECONDS,
        delay=_SECONDS,
        miniters=1,
        position=0,
        leave=False,
        **options,
    )


def tell(text: str) -> None:
    """Writes a line to stderr, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class _Lines:
    """A stream whose lines are logged."""

    def write(self, text: str) -> None:
        if line := " ".join(text.split()):
            _LOG.info(line)

    def flush(self) -> None:
        """Has nothing to do."""
