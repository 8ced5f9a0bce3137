"""The one exception that says: the input is at fault, not the program."""


class InputError(ValueError):
    """A user's mistake. Says what was expected, what came, where, and what to do.

    The commands print its message as one line and exit with code 2.
    """
