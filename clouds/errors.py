"""The exceptions that say: the input is at fault, not the program."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A user's mistake. Says what was expected, what came, where, and what to do.

    The commands print its message as one line and exit with code 2.
    """


class MissingError(InputError):
    """A setting that must be given was not; those that were may be right."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Names the word that a mistyped one is nearest to.

    Args:
      word: that is unknown.
      known: the words that are not.

    Returns:
      A sentence with a space before it, to end a message; nothing where none is near.
    """
    # The dashes that all flags share would make them alike.
    bare = {each.strip("-"): each for each in known}
    nearest = difflib.get_close_matches(word.strip("-"), bare, n=1)
    return f" Did you mean {bare[nearest[0]]}?" if nearest else ""
