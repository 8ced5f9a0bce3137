"""Loads bin/serve with clients that ask again as soon as they are answered.

PYTHONPATH=. python benchmarks/load.py --model models/clouds [--seconds 300]
PYTHONPATH=. python benchmarks/load.py --model models/clouds --compare --seconds 30

Prints images a second, the answers that were none, p50, p95 and p99, the images of a
batch, and the server's memory (resident) at each tenth of the time; with --compare it
serves in batches and one by one, twice in turns, and prints their ratio. Images are
procedural scenes of 1400x2100, or the JPEGs of --images and the folders in it.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil

from clouds.config.serving import Serving

ROOT = Path(__file__).parents[1]


def files(folder, count):
    if folder:
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))]
    import cv2

    from clouds.data import scenes

    drawn = (scenes.scene(seed, (1400, 2100))[0] for seed in range(count))
    return [cv2.imencode(".jpg", each[..., ::-1])[1].tobytes() for each in drawn]


async def ask(url, contents, end, seconds, faults):
    """One client, until the time is up."""
    async with httpx.AsyncClient(timeout=60) as client:
        number = 0
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                answer = await client.post(
                    url, content=contents[number % len(contents)]
                )
                if answer.status_code != 200 or len(answer.json()["rle"]) != 4:
                    faults.append(f"{answer.status_code}: {answer.text[:200]}")
            except (httpx.HTTPError, KeyError, ValueError) as fault:
                faults.append(repr(fault))
            seconds.append(time.monotonic() - started)
            number += 1


async def watch(process, end, memory):
    """The server's memory, each second."""
    while time.monotonic() < end:
        memory.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(1)


async def load(url, contents, clients, duration, process):
    seconds, faults, memory = [], [], []
    end = time.monotonic() + duration
    tasks = [ask(url, contents, end, seconds, faults) for _ in range(clients)]
    await asyncio.gather(*tasks, watch(process, end, memory))
    return seconds, faults, memory


def counted(url):
    """The server's own count of images and batches."""
    names = "clouds_batch_images_sum ", "clouds_batch_images_count "
    lines = httpx.get(f"{url}metrics").text.splitlines()
    (images,), (batches,) = (
        [float(line.split()[1]) for line in lines if line.startswith(name)]
        for name in names
    )
    return np.array([images, batches])


def measure(flags, contents, max_batch):
    """Images a second of a server of its own."""
    command = [sys.executable, "-m", "clouds.cli.main", "serve", "--model", flags.model]
    command += ["--port", "0", "--max-batch", str(max_batch)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        url = server.stdout.readline().split()[-1]
        process = psutil.Process(server.pid)
        asked = f"{url}v1/images", contents, flags.clients
        asyncio.run(load(*asked, flags.warm_up, process))
        before, begun = counted(url), time.monotonic()
        seconds, faults, memory = asyncio.run(load(*asked, flags.seconds, process))
        took = time.monotonic() - begun
        images, batches = counted(url) - before
        server.terminate()
        status = server.wait(60)
    rate = len(seconds) / took
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
    print(
        f"batches of up to {max_batch}: {len(seconds)} images of {flags.clients} "
        f"clients in {took:.0f} s, {rate:.2f} a second; {len(faults)} faults; "
        f"p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s; "
        f"{images / batches:.1f} a batch; exit code {status}"
    )
    tenths = [np.median(part) for part in np.array_split(memory, min(10, len(memory)))]
    print("  memory, MB:", *(f"{each:.0f}" for each in tenths), flush=True)
    for fault in sorted(set(faults))[:5]:
        print(f"  {fault}")
    return rate


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder that bin/export wrote")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--warm-up", type=float, default=10)
    parser.add_argument("--max-batch", type=int, default=Serving.max_batch)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--images", help="folder of images")
    parser.add_argument("--compare", action="store_true", help="also one by one")
    flags = parser.parse_args(arguments)
    flags.model = str(Path(flags.model).absolute())
    contents = files(flags.images, 12)
    if not flags.compare:
        measure(flags, contents, flags.max_batch)
        return
    ratios = []
    for _ in range(2):
        together, alone = (measure(flags, contents, k) for k in (flags.max_batch, 1))
        ratios.append(together / alone)
    told = " and ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"in batches {told} times as many as one by one")


if __name__ == "__main__":
    main()
