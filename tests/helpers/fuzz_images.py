"""Feeds damaged image files to the server's check and to a model.

PYTHONPATH=.:tests python tests/helpers/fuzz_images.py --model DIR [--seconds 600]

Each file must be answered or refused. Any other exception, a crash, a file that takes
20 s and growing memory are failures; the file is then in fuzz-found.bin.
`tests/serving/test_model_store.py` feeds 500.
"""

import argparse
import collections
import faulthandler
import io
import itertools
import random
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from clouds.serving import limits
from clouds.serving.model_store import FILES, Model
from clouds.serving.protocol import Refusal
from helpers import tiny_export

FOUND = Path("fuzz-found.bin")
HANG = 20
"""Seconds."""
WARM, GROWTH, KEPT = 2000, 50, 2e-3
"""Files until memory is stable, and the megabytes that it may then grow, in total and
per file: TensorFlow 2.21 keeps a kilobyte of each error that it raises."""
LENGTHS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1")


def originals():
    """Yields undamaged files of every kind that the decoders know."""
    picture = Image.fromarray(tiny_export.picture(56, 84))
    for mode, ending, options in (
        ("RGB", "jpeg", {}),
        ("RGB", "jpeg", {"progressive": True, "subsampling": 0}),
        ("L", "jpeg", {}),
        ("CMYK", "jpeg", {}),
        ("RGB", "png", {}),
        ("RGBA", "png", {}),
        ("P", "png", {}),
        ("1", "png", {}),
        ("I;16", "png", {}),
        ("RGB", "bmp", {}),
        ("L", "bmp", {}),
        ("RGBA", "bmp", {}),
    ):
        if mode == "I;16":
            wide = np.asarray(picture.convert("L"), np.uint16) * 257
            converted = Image.fromarray(wide)
        else:
            converted = picture.convert(mode)
        converted.save(file := io.BytesIO(), ending, **options)
        yield file.getvalue()


def damaged(draw, files):
    """Returns a file with bytes changed, cut, doubled, or replaced by another's."""
    contents = bytearray(draw.choice(files))
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(len(contents) + 1)
        # Mostly in headers, which matter most.
        place = min(place, draw.choice((40, 700, len(contents))))
        length = draw.choice((1, 2, 4, 30, 300))
        kind = draw.randrange(6)
        if kind == 0:
            contents[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            contents[place : place + 4] = draw.choice(LENGTHS)
        elif kind == 2:
            del contents[place : place + length]
        elif kind == 3:
            contents[place:place] = contents[place : place + length]
        elif kind == 4:
            contents[place:] = draw.choice(files)[place:]
        else:
            contents[place : place + length] = draw.randbytes(length)
    return bytes(contents[: draw.choice((len(contents), draw.randrange(2000)))])


def outcome(signature, contents):
    """Returns how a server answers a file."""
    refusal = limits.check_image(contents, 4_000_000)
    try:
        if not isinstance(refusal, Refusal):
            signature([{FILES: np.array(contents, object)}])
            return "answered"
    except Refusal as error:
        refusal = error
    assert refusal.status == 400
    return refusal.reason.partition(" Received")[0]


def fuzz(signature, going, seed):
    """Returns counts of outcomes, the longest time in seconds, and memory in MB."""
    draw, files = random.Random(seed), list(originals())
    outcomes, slowest, memory = collections.Counter(), 0, []
    for number in itertools.takewhile(going, itertools.count()):
        contents = damaged(draw, files)
        FOUND.write_bytes(contents)
        faulthandler.dump_traceback_later(HANG, exit=True)
        started = time.monotonic()
        outcomes[outcome(signature, contents)] += 1
        slowest = max(slowest, time.monotonic() - started)
        if number % WARM == WARM - 1:
            memory.append(psutil.Process().memory_info().rss / 1e6)
    faulthandler.cancel_dump_traceback_later()
    FOUND.unlink()
    return outcomes, slowest, memory


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    signature = Model(flags.model, "fuzzed").version.signatures["serving_default"]
    end = time.monotonic() + flags.seconds
    going = lambda number: time.monotonic() < end  # noqa: E731
    outcomes, slowest, memory = fuzz(signature, going, flags.seed)
    for reason, count in outcomes.most_common():
        print(f"{count:8} {reason}")
    print(f"{outcomes.total()} files; the slowest {slowest:.2f} s; memory, MB, after")
    print(f"each {WARM}:", *(f"{each:.0f}" for each in memory))
    most = GROWTH + KEPT * outcomes.total()
    grown = memory and memory[-1] - memory[0] > most
    return f"memory grew by more than {most:.0f} MB" if grown else 0


if __name__ == "__main__":
    sys.exit(main())
