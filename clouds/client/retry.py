"""Tries again what may succeed later, at random times further and further apart.

Where a server names a time, that is waited for too.
"""

import math
import random
import threading
import time
from collections.abc import Callable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_TOLD_AGAIN = 60.0


class Busy(Exception):
    """It may succeed later.

    Attributes:
      wait: seconds that the server asks for.
    """

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class Lost(Busy):
    """The server is out of reach."""


class Rejected(Exception):
    """It will not succeed."""


class Patience:
    """How often and how long what failed is tried again.

    Args:
      retries: attempts after the first.
      deadline: seconds for all of them.
      draw: a number from 0 to a given one, at random.
      tell: is told that something is tried again and why, at most once a minute.

    Attributes:
      lost: set for good where a server stayed out of reach to the end.
    """

    def __init__(
        self,
        retries: int,
        deadline: float,
        draw: Callable[[float], float] | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ):
        self._retries = retries
        self._deadline = deadline
        self._draw = draw or (lambda most: random.uniform(0, most))
        self._tell = tell
        self._told = -math.inf
        self._telling = threading.Lock()
        self.lost = threading.Event()

    def __call__(self, attempt: Callable[[float], object]):
        """Calls until it succeeds.

        Args:
          attempt: takes the seconds that are left; raises `Busy` if it may succeed
            later.

        Returns:
          What it returns.

        Raises:
          Busy: it was so each time.
        """
        end = time.monotonic() + self._deadline
        for number in range(self._retries + 1):
            try:
                return attempt(end - time.monotonic())
            except Busy as busy:
                spread = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
                pause = busy.wait + self._draw(spread)
                late = time.monotonic() + pause >= end
                if number == self._retries or late or self.lost.is_set():
                    if isinstance(busy, Lost):
                        self.lost.set()
                    raise
                self._say(busy, self._retries - number, end)
                time.sleep(pause)
        raise AssertionError

    def _say(self, busy: Busy, left: int, end: float) -> None:
        with self._telling:
            now = time.monotonic()
            if now - self._told < _TOLD_AGAIN:
                return
            self._told = now
        times = "once more" if left == 1 else f"up to {left} times more"
        reason = str(busy).rstrip(".")
        self._tell(f"{reason}; trying {times}, for {end - now:.0f} s at most")
