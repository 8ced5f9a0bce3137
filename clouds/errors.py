"""Errors of the user's input, as opposed to faults of the program."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A user's mistake: what is wrong, where, and how to fix it.

    The commands print its message as one line and exit with code 2.
    """


class MissingError(InputError):
    """A required setting is missing; the others may be valid."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Suggests the choice that is most similar to a mistyped word.

    Args:
      word: unknown word.
      choices: valid words.

    Returns:
      A sentence after a space, to end a message; empty if no choice is similar.
    """
    # The dashes that all flags share would make them similar.
    bare = {choice.strip("-"): choice for choice in choices}
    nearest = difflib.get_close_matches(word.strip("-"), bare, n=1)
    return f" Did you mean {bare[nearest[0]]}?" if nearest else ""
