"""Feeds damaged image files to what a server does with them, for as long as one likes.

PYTHONPATH=. python tests/fuzz_images.py --model DIR [--seconds 600] [--seed 0]

Each is answered or refused; anything else ends it, and is left in fuzz-found.bin, as is
the file that a crash of the process was at.
"""

import argparse
import collections
import io
import random
import time
from pathlib import Path

import numpy as np
import psutil
import tiny_export
from PIL import Image

from clouds import limits
from clouds.models import FILES, Model
from clouds.protocol import Refusal

FOUND = Path("fuzz-found.bin")
LENGTHS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1")


def beginnings():
    """Whole files of every kind that the decoders know."""
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
    """One of the files with bytes changed, cut, doubled, or another's put in."""
    contents = bytearray(draw.choice(files))
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(len(contents) + 1)
        # Headers are where it matters.
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


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    draw, files = random.Random(flags.seed), list(beginnings())
    signature = Model(flags.model, "fuzzed").version.signatures["serving_default"]
    outcomes, slowest, memory = collections.Counter(), 0, psutil.Process()
    end, first = time.monotonic() + flags.seconds, None
    while time.monotonic() < end:
        contents = damaged(draw, files)
        FOUND.write_bytes(contents)
        started = time.monotonic()
        try:
            limits.check_image(contents, 4_000_000)
            signature([{FILES: np.array(contents, object)}])
            outcomes["answered"] += 1
        except Refusal as refusal:
            outcomes[refusal.reason.partition("Received")[0]] += 1
        slowest = max(slowest, time.monotonic() - started)
        if sum(outcomes.values()) == 2000:
            first = memory.memory_info().rss
    FOUND.unlink()
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")
    last = memory.memory_info().rss
    print(f"slowest {slowest:.2f} s; memory {last / 1e6:.0f} MB", end="")
    print(f", {first / 1e6:.0f} MB after the first 2000" if first else "")


if __name__ == "__main__":
    main()
