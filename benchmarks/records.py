"""Times making records against bare JPEG decoding, and two workers against one.

First, in one process with one thread: the full-resolution images to records of
320x480 (read, decode, resize, encode, masks, write), against `cv2.imread` at the
same reduction, 1/4. Both take turns in each round; a ratio is of one round. Then
where that time goes, part by part.

Second, `make_tfrecords.convert` on the images under many names, with one worker
(in the process) and with several: the rate is the slope of the examples' arrival
times after the first quarter, so that the start of the pool, shown beside it,
does not count.

Ratios are medians over the rounds, with 95 % bootstrap intervals.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/records.py --rounds 15
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from lib import peers

from clouds import schema
from clouds.runtime import pool, startup

SIZE = schema.NETWORK_SIZE
RATIO = 4
QUALITY = 95
TARGETS = {"imread": 1.5, "workers": 1.8}


def convert(csv, images, out, workers, in_processes):
    """Converts with another `pool.in_processes`; returns when it began."""
    from clouds.config.data import Records
    from clouds.data import make_tfrecords as convert_module

    settings = Records(csv=str(csv), images=str(images), out=str(out), workers=workers)
    began = time.perf_counter()
    with (
        mock.patch.object(pool, "in_processes", in_processes),
        contextlib.redirect_stdout(sys.stderr),
    ):
        convert_module.convert(settings)
    return began


def prepare(data, folder):
    """The function that makes examples, and its task for each image."""
    caught = []

    def catch(function, tasks, workers):
        tasks = list(tasks)
        caught.extend([function, tasks])
        yield from function(tasks)

    convert(*peers.find(data), folder / "caught", 1, catch)
    return caught


def time_each(actions, rounds):
    """Milliseconds an image of each action, which gives an iterator over them."""
    times = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            images = sum(1 for _ in action())
            times[name].append(1e3 * (time.perf_counter() - start) / images)
    return {name: values[1:] for name, values in times.items()}


def time_one_worker(function, tasks, folder, rounds):
    """`cv2.imread`, making and writing records, and the parts of that."""
    import cv2
    import tensorflow as tf

    def read(task):
        return cv2.imread(task[0], cv2.IMREAD_REDUCED_COLOR_4)

    with tf.io.TFRecordWriter(str(folder / "one.tfrecord")) as writer:

        def records():
            yield from map(writer.write, pool.in_processes(function, tasks, 1))

        actions = {
            "cv2.imread": lambda: map(read, tasks),
            "record": records,
        }
        return time_each(actions | parts_of(tasks), rounds)


def parts_of(tasks):
    """The parts of making a record, each alone on what the part before it gave."""
    import tensorflow as tf

    from clouds import rle
    from clouds.data import records
    from clouds.data.images import image_files, preprocessing

    def decode(contents):
        return tf.io.decode_jpeg(
            contents, channels=3, ratio=RATIO, dct_method="INTEGER_ACCURATE"
        )

    def parse(task):
        return task.table.runs(0, task.table.grid)

    def paint(runs):
        sizes = SIZE, schema.SUBMISSION_SIZE
        return rle.resample(runs, schema.GRID, sizes)

    def compress(planes):
        return [records.compress(plane) for plane in planes]

    read = tf.function(image_files.read)
    resize = tf.function(lambda image: preprocessing.resize(image, SIZE))
    files = [tf.constant(task[0]) for task in tasks]
    contents = [image_files.read(file) for file in files]
    decoded = [decode(content) for content in contents]
    resized = [resize(image) for image in decoded]
    runs = [parse(task) for task in tasks]
    painted = [paint(labels) for labels in runs]
    return {
        "read file": lambda: map(read, files),
        "decode JPEG": lambda: map(decode, contents),
        "resize": lambda: map(resize, decoded),
        "encode JPEG": lambda: (
            tf.io.encode_jpeg(image, quality=QUALITY, chroma_downsampling=False)
            for image in resized
        ),
        "RLE parse": lambda: map(parse, tasks),
        "RLE resample": lambda: map(paint, runs),
        "zlib": lambda: map(compress, painted),
    }


def time_workers(csv, images, folder, workers):
    """Images a second in steady state, and seconds to the first example."""
    import numpy as np

    in_processes, stamps = pool.in_processes, []

    def stamped(*arguments):
        for result in in_processes(*arguments):
            stamps.append(time.perf_counter())
            yield result

    with tempfile.TemporaryDirectory(dir=folder) as out:
        began = convert(csv, images, Path(out, "records"), workers, stamped)
    late = stamps[len(stamps) // 4 :]
    slope = np.polyfit(range(len(late)), late, 1)[0]
    return 1 / slope, stamps[0] - began


def report_one_worker(times):
    """Prints the ratio to `cv2.imread`, and the parts."""
    peer, ours, *parts = times.values()
    print("ms an image, one worker        min    median       max")
    for name, values in times.items():
        print(f"{name:<24} {peers.spread(values)}")
    rest = statistics.median(ours) - sum(map(statistics.median, parts))
    print(f"{'the rest of a record':<24} {rest:9.2f}")
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    print(f"{'record / cv2.imread':<24} {peers.spread(ratios)}")
    print(f"median ratio {peers.interval(ratios)}; target <= {TARGETS['imread']}\n")


def report_workers(rates, starts, workers):
    """Prints the rates and their ratio."""
    print("images a second                min    median       max   to the first, s")
    for count, values in rates.items():
        start = statistics.median(starts[count])
        name = f"{count} worker" + "s" * (count > 1)
        print(f"{name:<24} {peers.spread(values, 1)}   {start:.2f}")
    ratios = [many / one for one, many in zip(rates[1], rates[workers], strict=True)]
    print(f"{f'{workers} workers / 1':<24} {peers.spread(ratios)}")
    target = TARGETS["workers"]
    print(f"median ratio {peers.interval(ratios)}; target for 2 >= {target}")


def parse_flags(arguments):
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peers.add_data_flag(parser)
    parser.add_argument("--rounds", type=int, default=15, help="of the one worker")
    parser.add_argument(
        "--copies", type=int, default=50, help="names an image, for the workers"
    )
    parser.add_argument("--workers", type=int, default=2, help="against one")
    parser.add_argument(
        "--worker-rounds", type=int, default=5, help="of the workers; 0 for none"
    )
    return parser.parse_args(arguments)


def main(arguments):
    """Measures and prints both parts."""
    options = parse_flags(arguments)
    peers.find(options.data)
    threads = startup.load("tensorflow").config.threading
    threads.set_intra_op_parallelism_threads(1)
    threads.set_inter_op_parallelism_threads(-1)
    import cv2

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peers.tell("one worker …")
        function, tasks = prepare(options.data, folder)
        report_one_worker(time_one_worker(function, tasks, folder, options.rounds))
        if not options.worker_rounds:
            return
        csv, images = peers.repeat(options.data, folder, options.copies)
        counts = 1, options.workers
        rates, starts = ({count: [] for count in counts} for _ in range(2))
        for index in range(options.worker_rounds):
            for count in counts:
                peers.tell(f"round {index + 1}, workers: {count} …")
                rate, start = time_workers(csv, images, folder, count)
                rates[count].append(rate)
                starts[count].append(start)
        report_workers(rates, starts, options.workers)


if __name__ == "__main__":
    main(sys.argv[1:])
