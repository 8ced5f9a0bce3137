"""Dynamic batching: items of several requests run together, which is faster per item.

One thread runs one batch, while the next one gathers. If it is idle, the first item
waits a little for others.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

Function = Callable[[list], Sequence]
"""A function from a batch of items to their results."""

_SMOOTHING = 0.2


class QueueFullError(Exception):
    """The queue has no space for more items, for an estimated number of seconds."""

    def __init__(self, seconds: int):
        super().__init__(f"The queue is full for {seconds} s.")
        self.seconds = seconds


class _Item(NamedTuple):
    kind: Hashable
    function: Function
    content: Any
    result: asyncio.Future
    since: float


class Batcher:
    """Runs functions of batches on items that arrive one by one.

    Args:
      max_size: maximum number of items per batch.
      timeout: seconds to wait for a batch to fill.
      max_queue: maximum number of items that wait.
      report: called after each batch with its size and seconds.
    """

    def __init__(
        self,
        *,
        max_size: int,
        timeout: float,
        max_queue: int,
        report: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self._max_size, self._timeout = max_size, timeout
        self._max_queue, self._report = max_queue, report
        self._seconds_per_item = 0.1
        self._queue: list[_Item] = []
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "batches")

    def __len__(self) -> int:
        return len(self._queue)

    def seconds(self) -> int:
        """Estimates the seconds until the queue is empty, at least 1."""
        return math.ceil(len(self._queue) * self._seconds_per_item) or 1

    async def run(
        self, function: Function, items: Sequence, kind: Hashable = None
    ) -> list:
        """Runs a function on items, together with those of other calls.

        Args:
          function: function from a list of items to a result for each.
          items: any number of items.
          kind: items share a batch only with items of the same kind and function.

        Returns:
          The results, in the order of the items. An exception that the function
          raises for an item alone is its result.

        Raises:
          QueueFullError: the queue has no space for all of them.
        """
        self._drop_cancelled()
        if len(self._queue) + len(items) > self._max_queue:
            raise QueueFullError(self.seconds())
        loop, now = asyncio.get_running_loop(), time.monotonic()
        results = [loop.create_future() for _ in items]
        self._queue += [
            _Item((function, kind), function, item, result, now)
            for item, result in zip(items, results, strict=True)
        ]
        self._arrival.set()
        return await asyncio.gather(*results)

    async def work(self) -> None:
        """Runs batches until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._next()
                start = time.monotonic()
                contents = [item.content for item in batch]
                results = await loop.run_in_executor(
                    self._thread, _run_or_halve, batch[0].function, contents
                )
                seconds = time.monotonic() - start
                difference = seconds / len(batch) - self._seconds_per_item
                self._seconds_per_item += _SMOOTHING * difference
                self._report(len(batch), seconds)
                for item, result in zip(batch, results, strict=True):
                    if not item.result.done():
                        item.result.set_result(result)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _next(self) -> list[_Item]:
        """Waits for the next batch, of the kind that has waited longest."""
        while True:
            self._drop_cancelled()
            kind = self._queue[0].kind if self._queue else None
            batch = [item for item in self._queue if item.kind == kind]
            batch, seconds = batch[: self._max_size], None
            if batch:
                seconds = batch[0].since + self._timeout - time.monotonic()
                if len(batch) == self._max_size or seconds <= 0:
                    taken = set(map(id, batch))
                    self._queue = [i for i in self._queue if id(i) not in taken]
                    return batch
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrival.wait()

    def _drop_cancelled(self) -> None:
        self._queue = [item for item in self._queue if not item.result.done()]


def _run_or_halve(function: Function, contents: list) -> Sequence:
    """Runs a batch; if it fails runs its halves, to find the items at fault."""
    try:
        return function(contents)
    except Exception as error:
        if len(contents) == 1:
            return [error]
    half = len(contents) // 2
    halves = contents[:half], contents[half:]
    return [result for each in halves for result in _run_or_halve(function, each)]
