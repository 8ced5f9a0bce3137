import asyncio
import threading

import pytest

from clouds.serving.batching import Batcher, QueueFullError


def run(scenario, **options):
    """Runs a scenario with a batcher at work, and returns the batches it made."""
    batches = []

    async def whole():
        batcher = Batcher(
            **{"max_size": 4, "timeout": 0, "max_queue": 100, **options},
            report=lambda items, seconds: batches.append(items),
        )
        work = asyncio.create_task(batcher.work())
        try:
            return await scenario(batcher)
        finally:
            work.cancel()

    return asyncio.run(whole()), batches


def squares(items):
    return [item**2 for item in items]


def test_items_of_several_calls_share_a_batch():
    async def scenario(batcher):
        return await asyncio.gather(*(batcher.run(squares, [k]) for k in range(4)))

    results, batches = run(scenario, timeout=10)
    assert results == [[0], [1], [4], [9]]
    assert batches == [4]


def test_many_items_of_one_call_make_several_batches():
    results, batches = run(lambda batcher: batcher.run(squares, range(10)))
    assert results == [k**2 for k in range(10)]
    assert batches == [4, 4, 2]


def test_a_single_item_waits_no_longer_than_the_maximum():
    results, batches = run(lambda batcher: batcher.run(squares, [3]), timeout=0.01)
    assert (results, batches) == ([9], [1])


def test_items_of_different_kinds_or_functions_share_no_batch():
    async def scenario(batcher):
        calls = [(squares, "a"), (squares, "b"), (sorted, "a"), (squares, "a")]
        return await asyncio.gather(
            *(
                batcher.run(function, [k], kind)
                for k, (function, kind) in enumerate(calls)
            )
        )

    results, batches = run(scenario, timeout=0.05)
    assert results == [[0], [1], [2], [9]]
    assert batches == [2, 1, 1]


def test_no_items_give_no_results():
    assert run(lambda batcher: batcher.run(squares, []))[0] == []


def test_an_error_concerns_the_items_at_fault_only():
    tried = []

    def picky(items):
        tried.append(len(items))
        if 3 in items:
            raise ValueError("3")
        return items

    results, _ = run(lambda batcher: batcher.run(picky, range(8)), max_size=8)
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(results[3], ValueError)
    assert tried == [8, 4, 2, 2, 1, 1, 4]


def held_up():
    """Returns a function that blocks, and events: it has started, it may finish."""
    begun, go = threading.Event(), threading.Event()

    def function(items):
        begun.set()
        go.wait(10)
        return items

    return function, begun, go


def test_a_full_queue_raises_with_the_time_to_retry():
    async def scenario(batcher):
        function, begun, go = held_up()
        working = asyncio.create_task(batcher.run(function, [0]))
        await asyncio.to_thread(begun.wait)
        waiting = asyncio.create_task(batcher.run(function, [1, 2]))
        await asyncio.sleep(0)
        assert len(batcher) == 2
        with pytest.raises(QueueFullError) as full:
            await batcher.run(function, [3])
        assert full.value.seconds >= 1
        go.set()
        return await asyncio.gather(working, waiting)

    assert run(scenario, max_queue=2)[0] == [[0], [1, 2]]


def test_cancelled_items_leave_the_queue_and_are_not_run():
    async def scenario(batcher):
        function, begun, go = held_up()
        working = asyncio.create_task(batcher.run(function, [0]))
        await asyncio.to_thread(begun.wait)
        given_up = asyncio.create_task(batcher.run(function, [1, 2]))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        last = asyncio.create_task(batcher.run(squares, [3, 4]))
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(working, last)

    results, batches = run(scenario, max_queue=2)
    assert results == [[0], [9, 16]]
    assert batches == [1, 2]
