"""What both sides of `on_gpu.py` share: options, rounds, answers."""

import argparse
import json
import statistics
import sys
import time

# A process that measures answers with lines that begin with this.
MARK = "measured "

AUGMENTED = "train with augmentation"


def options():
    """The options that `on_gpu.py` gives."""
    return argparse.Namespace(**json.loads(sys.argv[1]))


def report(**fields):
    """Answers the process that started this one."""
    print(MARK + json.dumps(fields), flush=True)


def measure_all(side, settings, skip=()):
    """Measures the steps that `side(what, batch)` returns, the most telling first.

    Args:
      side: from a measurement's name and batch to two functions: a step, and one that
        waits for the last step; and one that returns the peak memory in bytes, or None.
      settings: options.
      skip: names of measurements that this side lacks.
    """
    for index, batch in enumerate(settings.batches):
        for what in ("train", "infer", *[AUGMENTED] * (not index)):
            if what in skip:
                continue
            if time.time() > settings.until:
                report(kind="left out", what=what, batch=batch)
                continue
            step, wait, memory = side(what, batch)
            found = rate(step, wait, settings, batch)
            report(kind="rate", what=what, batch=batch, rate=found, memory=memory())


def rate(step, wait, settings, batch):
    """Median and range of the images a second of a step, over rounds."""
    for _ in range(3):
        step()
    wait()
    count = 1
    while (seconds := timed(step, wait, count)) < settings.seconds:
        count = max(count + 1, int(count * 1.2 * settings.seconds / seconds))
    rates = [count * batch / timed(step, wait, count) for _ in range(settings.rounds)]
    return [statistics.median(rates), min(rates), max(rates)]


def timed(step, wait, count):
    """Seconds of some steps."""
    started = time.perf_counter()
    for _ in range(count):
        step()
    wait()
    return time.perf_counter() - started
