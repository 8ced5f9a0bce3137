"""Retries of requests that may succeed later."""

import math
import threading
import time
from collections.abc import Callable

import tenacity

_REPORT_INTERVAL = 60.0


class Busy(Exception):
    """The request may succeed later.

    Attributes:
      wait: seconds to wait, as asked for by the server.
    """

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class Lost(Busy):
    """The server is unreachable, or no longer serves the model."""


class Rejected(Exception):
    """The request will not succeed."""


class NotFound(Rejected):
    """The server has no such model, version or file."""


class Retry:
    """Calls functions again while they raise `Busy`, after growing random pauses.

    Args:
      retries: maximum number of calls after the first.
      deadline: seconds for all calls.
      report: function that takes a message about a retry, at most once a minute.

    Attributes:
      lost: set once a server has stayed lost to the end; nothing is retried then.
    """

    def __init__(
        self,
        retries: int,
        deadline: float,
        report: Callable[[str], None] = lambda message: None,
    ):
        self._attempts, self._deadline = retries + 1, deadline
        self._report, self._reported = report, -math.inf
        self.lost = threading.Event()

    def __call__(self, attempt: Callable[[float], object]):
        """Calls a function of the seconds that are left until it does not raise `Busy`.

        Raises:
          Busy: raised by the last call.
        """
        end = time.monotonic() + self._deadline
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Busy),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20)
            + (lambda state: state.outcome.exception().wait),
            stop=tenacity.stop_after_attempt(self._attempts)
            | tenacity.stop_before_delay(self._deadline)
            | tenacity.stop_when_event_set(self.lost),
            before_sleep=self._report_retry,
            reraise=True,
        )
        try:
            return retrying(lambda: attempt(end - time.monotonic()))
        except Lost:
            self.lost.set()
            raise

    def _report_retry(self, state: tenacity.RetryCallState) -> None:
        now = time.monotonic()
        if now - self._reported < _REPORT_INTERVAL:
            return
        self._reported = now
        reason = str(state.outcome.exception()).rstrip(".")
        retries = self._attempts - state.attempt_number
        seconds = self._deadline - state.seconds_since_start
        self._report(f"{reason}. Retries left: {retries}, within {seconds:.0f} s.")
