"""Loads bin/serve with clients that ask again as soon as they are answered.

python benchmarks/load.py --model models/clouds [--seconds 300] [--clients 16]
python benchmarks/load.py --model models/clouds --compare --seconds 60

Prints requests a second, the answers that were none, p50, p95 and p99, and the server's
memory over time; with --compare it serves in batches and one by one, and prints their
ratio. Images are procedural scenes of 1400x2100, or those of --images.
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

ROOT = Path(__file__).parents[1]


def files(folder, count):
    if folder:
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())[:count]]
    sys.path.insert(0, str(ROOT))
    import cv2

    from clouds import scenes

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
                    faults.append(answer.text[:200])
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


def measure(flags, contents, max_batch):
    """Requests a second of a server of its own."""
    command = [sys.executable, "-m", "clouds.cli", "serve", "--model", flags.model]
    command += ["--port", "0", "--max-batch", str(max_batch)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        url = server.stdout.readline().split()[-1] + "v1/images"
        process = psutil.Process(server.pid)
        asyncio.run(load(url, contents, flags.clients, flags.warm_up, process))
        seconds, faults, memory = asyncio.run(
            load(url, contents, flags.clients, flags.seconds, process)
        )
        server.terminate()
        status = server.wait(60)
    rate = len(seconds) / flags.seconds
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
    print(
        f"batches of up to {max_batch}: {len(seconds)} requests of {flags.clients} "
        f"clients in {flags.seconds:.0f} s, {rate:.2f} a second; {len(faults)} faults; "
        f"p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s; exit code {status}"
    )
    tenths = [np.median(part) for part in np.array_split(memory, min(10, len(memory)))]
    print("  memory, MB, by tenths:", " ".join(f"{each:.0f}" for each in tenths))
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
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--images", help="folder of images")
    parser.add_argument("--compare", action="store_true", help="also one by one")
    flags = parser.parse_args(arguments)
    flags.model = str(Path(flags.model).absolute())
    contents = files(flags.images, 12)
    together = measure(flags, contents, 16)
    if flags.compare:
        alone = measure(flags, contents, 1)
        print(f"in batches {together / alone:.2f} times as many as one by one")


if __name__ == "__main__":
    main()
