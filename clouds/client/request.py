"""Asks a server for the masks of images, and writes them as `bin/predict` does.

It goes on where it was cut off (`clouds.prediction.resume`), with the version of the model that
it began with.
"""

import collections
import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import posixpath
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from clouds import schema
from clouds.client import client
from clouds.client.client import Answer, Client
from clouds.client.retry import Busy, Patience, Rejected
from clouds.config.fields import IMAGES_ASKED
from clouds.config.serving import Request
from clouds.data import image_files, preprocessing
from clouds.errors import InputError
from clouds.prediction import geojson, outputs
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.resume import Results
from clouds.runtime import files, progress
from clouds.text import counted

FAILED = 3
"""Exit code where some images were not answered."""

_REPORTED = 20
_MOST_BYTES = 200_000_000
_URLS = ("http://", "https://")
# What servers unpack; others go there as PNG.
_KNOWN = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")


def request(settings: Request) -> int:
    """Asks about one batch of images after another, a few at a time.

    What is answered, with the same settings and by the same version, is not asked about
    again; what is not answered is.

    Args:
      settings: the images, the server, and what to write.

    Returns:
      The exit code: 0, or 3 if some images were not answered. Those have no rows.

    Raises:
      InputError: there are no images, no server, no answer to any image, or the folder
        holds other predictions.
    """
    found = _find(settings.images)
    patience = Patience(settings.retries, settings.deadline, tell=_tell)
    out = Path(settings.out)
    with contextlib.closing(client.connect(settings)) as asked:
        try:
            version = patience(asked.check)
        except (Busy, Rejected) as fault:
            reason = str(fault).rstrip(".")
            raise InputError(
                f"--server must be one that serves '{settings.name}'. Received: "
                f"{client.address(settings)}, and {reason}. Start bin/serve there, or "
                "give another, or its model's --name."
            ) from fault
        out.mkdir(parents=True, exist_ok=True)
        with files.sole_writer(settings.out, "--out"):
            results = Results(out, "request", _known(settings, version, found))
            if not settings.overwrite:
                if results.finished(_names(settings)):
                    print(
                        f"{out}: answered already, "
                        f"{counted(results.stored['images'], 'image')}. Left as it is; "
                        "--overwrite asks again."
                    )
                    return 0
                results.check()
            if settings.bbox:
                _check_box(settings, next(iter(found.values())), patience)
            elif settings.geojson:
                print(geojson.IN_PIXELS)
            results.begin(anew=settings.overwrite)
            faults = _gather(settings, found, asked, patience, results.journal)
            return _finish(settings, found, results, faults)


def ask(
    asked: Client, files: Sequence[bytes], patience: Patience
) -> list[Answer | Exception]:
    """Asks about image files; where several are rejected, about fewer at a time.

    TensorFlow Serving rejects a whole batch for one bad image.

    Args:
      asked: the server.
      files: what they hold.
      patience: with it.

    Returns:
      For each its answer, or why there is none.
    """
    if patience.lost.is_set():
        return [Busy("it was not asked: the server was lost before")] * len(files)
    try:
        return patience(lambda seconds: asked.ask(files, seconds))
    except Busy as fault:
        return [fault] * len(files)
    except Rejected as fault:
        if len(files) == 1:
            return [fault]
    half = len(files) // 2
    return [*ask(asked, files[:half], patience), *ask(asked, files[half:], patience)]


def _tell(text: str) -> None:
    progress.write(f"request: {text}")


def _find(places: Sequence[str]) -> dict[str, str]:
    found = {}
    for place in places:
        if place.startswith(_URLS):
            path = urllib.parse.urlsplit(place).path
            name = posixpath.basename(urllib.parse.unquote(path)) or "image"
            here = {name: place}
        else:
            here = image_files.find(place, IMAGES_ASKED)
        if twice := found.keys() & here.keys():
            name = min(twice)
            raise InputError(
                "Images must have names of their own. Received: "
                f"{name} twice, as {found[name]} and {here[name]}. Ask about them "
                "apart."
            )
        found |= here
    return found


def _known(settings: Request, version: int, found: dict[str, str]) -> dict:
    """What predictions must have in common to be of one folder."""
    places = [
        (name, place if "://" in place else str(Path(place).absolute()))
        for name, place in found.items()
    ]
    return {
        "server": client.address(settings),
        "name": settings.name,
        "version": version,
        "order": hashlib.sha256(json.dumps(places).encode()).hexdigest(),
        **{name: getattr(settings, name) for name in ("overlays", "geojson", "bbox")},
    }


def _names(settings: Request) -> list[str]:
    wanted = {outputs.CLEANED: True, outputs.GEOJSON: settings.geojson}
    wanted[outputs.OVERLAYS] = settings.overlays > 0
    return [name for name, asked in wanted.items() if asked]


def _check_box(settings: Request, place: str, patience: Patience) -> None:
    contents = _read(place, patience)
    if isinstance(contents, Exception):
        return
    with contextlib.suppress(tf.errors.OpError):
        shape = preprocessing.decode(contents, schema.SUBMISSION_SIZE)[1].numpy()
        if doubt := geojson.doubt(settings.bbox, shape):
            print(f"request: warning: {doubt}", file=sys.stderr)


def _gather(
    settings: Request,
    found: dict[str, str],
    asked: Client,
    patience: Patience,
    journal: Journal,
) -> dict[str, str]:
    """Asks about what the journal lacks; returns why others are not answered."""
    faults, before = {}, len(journal)
    left = {name: place for name, place in found.items() if name not in journal}
    with progress.bar(
        desc="request", unit="image", total=len(found), initial=before
    ) as bar:
        for name, answer in _answers(settings, left, asked, patience):
            if isinstance(answer, Answer):
                texts, scores = answer
                journal.add([Entry(image=name, plain=[], cleaned=texts, scores=scores)])
            else:
                faults[name] = str(answer)
                if len(faults) <= _REPORTED:
                    _tell(f"{found[name]}: {answer}")
            bar.update()
    if before:
        print(f"Answered before: {before} of {counted(len(found), 'image')}.")
    return faults


def _answers(
    settings: Request, found: dict[str, str], asked: Client, patience: Patience
) -> Iterator[tuple[str, Answer | Exception]]:
    def work(names: Sequence[str]) -> list[tuple[str, Answer | Exception]]:
        read = {name: _read(found[name], patience) for name in names}
        files = [each for each in read.values() if isinstance(each, bytes)]
        answered = iter(ask(asked, files, patience) if files else [])
        return [
            (name, next(answered) if isinstance(each, bytes) else each)
            for name, each in read.items()
        ]

    ahead = 2 * settings.concurrency
    with concurrent.futures.ThreadPoolExecutor(settings.concurrency) as pool:
        waiting = collections.deque()
        for names in _batched(found, settings.batch_size):
            waiting.append(pool.submit(work, names))
            if len(waiting) > ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _read(place: str, patience: Patience) -> bytes | Exception:
    try:
        if place.startswith(_URLS):
            contents = patience(
                lambda seconds: client.fetch(place, seconds, _MOST_BYTES)
            )
        else:
            contents = image_files.read(tf.constant(place)).numpy()
        if contents.startswith(_KNOWN):
            return contents
        image = tf.io.decode_image(contents, 3, expand_animations=False)
        return tf.io.encode_png(image).numpy()
    except (Busy, Rejected) as fault:
        return fault
    except tf.errors.OpError:
        return Rejected("it cannot be read as an image")


def _finish(
    settings: Request,
    found: dict[str, str],
    results: Results,
    faults: dict[str, str],
) -> int:
    out, journal = Path(settings.out), results.journal
    if not len(journal):
        journal.path.unlink()
        name, fault = next(iter(faults.items()))
        raise InputError(
            f"At least one image must be answered. Received: {len(faults)} that were "
            f"not, the first: {found[name]}: {fault}"
        )
    with contextlib.ExitStack() as stack:
        writers = [outputs.submission(out / outputs.CLEANED, "cleaned", {})]
        if settings.geojson:
            writers.append(outputs.collection(out / outputs.GEOJSON, settings.bbox))
        writers = [stack.enter_context(writer) for writer in writers]
        for entry in journal.entries(found):
            for add in writers:
                add(entry)
    first = itertools.islice(journal.entries(found), settings.overlays)
    outputs.draw(out, ((_shown(found[entry.image]), entry) for entry in first))
    outputs.write_unreadable(out, faults)
    results.end(faults)
    written = ", ".join(str(out / name) for name in _names(settings))
    print(f"{counted(len(journal), 'image')}: {written}")
    if not faults:
        return 0
    print(
        f"request: {len(faults)} of {counted(len(found), 'image')} got no answer and "
        f"no rows. {out / outputs.UNREADABLE} says why. The same command asks about "
        "that alone.",
        file=sys.stderr,
    )
    return FAILED


def _shown(place: str) -> np.ndarray:
    """uint8[350, 525, 3], to draw on."""
    contents = _read(place, Patience(0, 60))
    if isinstance(contents, Exception):
        return np.zeros((*schema.SUBMISSION_SIZE, 3), np.uint8)
    return preprocessing.decode(contents, schema.SUBMISSION_SIZE)[0].numpy()


def _batched(names, size: int) -> Iterator[list[str]]:
    """Which Python 3.12 has as `itertools.batched`."""
    names = iter(names)
    while some := list(itertools.islice(names, size)):
        yield some
