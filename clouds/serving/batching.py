"""Requests gathered into batches, which a model takes at less cost an image.

One thread works on one batch at a time; meanwhile the next one gathers. Where all is
quiet, the first item waits a little for others.
"""

import asyncio
import concurrent.futures
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

Function = Callable[[list], Sequence]
"""Of a batch of items, to their results."""

_FADING = 0.2


class Full(Exception):
    """No room for more items.

    Attributes:
      seconds: after which there should be.
    """

    def __init__(self, seconds: int):
        super().__init__(f"No room for {seconds} s.")
        self.seconds = seconds


class _Item(NamedTuple):
    kind: Hashable
    function: Function
    content: Any
    result: asyncio.Future
    since: float


class Batcher:
    """Runs functions of batches on items that come one by one.

    Args:
      size: items of a batch at most.
      wait: seconds in which a batch is gathered.
      room: items that wait at most.
      done: called after each batch with its items and seconds.
    """

    def __init__(
        self,
        *,
        size: int,
        wait: float,
        room: int,
        done: Callable[[int, float], None] = lambda items, seconds: None,
    ):
        self._size = size
        self._wait = wait
        self._room = room
        self._done = done
        self._pace = 0.1
        self._waiting: list[_Item] = []
        self._came = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "batches")

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(
        self, function: Function, items: Sequence, kind: Hashable = None
    ) -> list:
        """Has items worked on, together with those of other calls.

        Args:
          function: of a list of items, to a result for each.
          items: any number of them.
          kind: items of one kind and one function may share a batch.

        Returns:
          The results in the order of the items. Where the function raised something
          for an item alone, that is its result.

        Raises:
          Full: there is no room for so many.
        """
        self._waiting = [item for item in self._waiting if not item.result.done()]
        ahead = len(self._waiting) + len(items)
        if ahead > self._room:
            raise Full(math.ceil(len(self._waiting) * self._pace) or 1)
        loop, now = asyncio.get_running_loop(), time.monotonic()
        results = [loop.create_future() for _ in items]
        self._waiting += [
            _Item((function, kind), function, item, result, now)
            for item, result in zip(items, results, strict=True)
        ]
        self._came.set()
        return await asyncio.gather(*results)

    async def work(self) -> None:
        """Works until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._next()
                started = time.monotonic()
                contents = [item.content for item in batch]
                results = await loop.run_in_executor(
                    self._thread, _each_or_some, batch[0].function, contents
                )
                seconds = time.monotonic() - started
                self._pace += _FADING * (seconds / len(batch) - self._pace)
                self._done(len(batch), seconds)
                for item, result in zip(batch, results, strict=True):
                    if not item.result.done():
                        item.result.set_result(result)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _next(self) -> list[_Item]:
        while True:
            # What was given up while it waited is not worked on.
            self._waiting = [item for item in self._waiting if not item.result.done()]
            batch = self._first()
            if batch:
                left = batch[0].since + self._wait - time.monotonic()
                if len(batch) == self._size or left <= 0:
                    taken = set(map(id, batch))
                    self._waiting = [i for i in self._waiting if id(i) not in taken]
                    return batch
            self._came.clear()
            try:
                async with asyncio.timeout(left if batch else None):
                    await self._came.wait()
            except TimeoutError:
                pass

    def _first(self) -> list[_Item]:
        """As many as fit a batch of the kind that has waited longest."""
        same = [item for item in self._waiting if item.kind == self._waiting[0].kind]
        return same[: self._size]


def _each_or_some(function: Function, contents: list) -> Sequence:
    """What goes wrong with a batch goes wrong with some of it: its halves are tried."""
    try:
        return function(contents)
    except Exception as fault:
        if len(contents) == 1:
            return [fault]
    half = len(contents) // 2
    halves = contents[:half], contents[half:]
    return [result for each in halves for result in _each_or_some(function, each)]
