"""Asks a server for the masks of images, and writes them as `bin/predict` does.

An interrupted request resumes (`clouds.prediction.resume`) with the version of the
model that it started with.
"""

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from clouds.client import client, images
from clouds.client.answers import Answer
from clouds.client.client import Client
from clouds.client.images import Image
from clouds.client.retry import Busy, Rejected, Retry
from clouds.config.fields import IMAGES_ASKED
from clouds.config.serving import Request
from clouds.data.images import image_files, preprocessing
from clouds.errors import InputError
from clouds.geo import places
from clouds.geo.places import Places
from clouds.prediction import geojson, outputs, placing, writers
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.resume import Results
from clouds.runtime import files, progress
from clouds.schema import CLOUDS, RGB, Bands, MaskSpec
from clouds.text import counted

FAILED = 3
"""Exit code if some images have no answer."""

_MAX_REPORTS = 20


def request(settings: Request) -> int:
    """Asks for the masks of images in batches, and writes the files.

    Images that the same version has answered with the same settings are not asked for
    again.

    Args:
      settings: images, server and files to write.

    Returns:
      The exit code: 0, or 3 if some images have no answer; these have no rows.

    Raises:
      InputError: there are no images, no server or no answer at all, or the folder
        holds other predictions.
    """
    sources = _find(settings.images)
    retry = Retry(settings.retries, settings.deadline, _report)
    out, placed = Path(settings.out), _places(settings, sources)
    with contextlib.closing(client.connect(settings)) as model:
        version = _check_server(settings, model, retry)
        out.mkdir(parents=True, exist_ok=True)
        with files.sole_writer(settings.out, "--out"):
            results = Results(
                out,
                "request",
                _identity(settings, version, sources),
                {"places": placed.checksum} if placed else {},
            )
            if not settings.overwrite:
                if results.finished(_names(settings)):
                    print(
                        f"{out}: already answered "
                        f"({counted(results.stored['images'], 'image')}). --overwrite "
                        "asks again."
                    )
                    return 0
                results.check()
            if settings.bbox:
                _check_box(settings, next(iter(sources.values())), retry)
            results.start(overwrite=settings.overwrite)
            faults = _gather(settings, sources, model, retry, results.journal)
            return _finish(settings, sources, results, faults, model, retry, placed)


def ask(
    model: Client, contents: Sequence[Image], retry: Retry
) -> list[Answer | Exception]:
    """Asks for the masks of image files; asks for halves if a batch is rejected.

    TensorFlow Serving rejects an entire batch for one bad image.

    Args:
      model: model on the server.
      contents: contents of the files, or values.
      retry: retries of each request.

    Returns:
      For each file its answer, or the reason why there is none.
    """
    if retry.lost.is_set():
        return [Busy("not sent: the server was lost before")] * len(contents)
    try:
        return retry(lambda seconds: model.ask(contents, seconds))
    except Busy as error:
        return [error] * len(contents)
    except Rejected as error:
        if len(contents) == 1:
            return [error]
    half = len(contents) // 2
    return ask(model, contents[:half], retry) + ask(model, contents[half:], retry)


def _report(message: str) -> None:
    progress.write(f"request: {message}")


def _find(sources: Sequence[str]) -> dict[str, str]:
    urls = [source for source in sources if source.startswith(image_files.URLS)]
    names = {url: name for name, url in image_files.by_name(urls, "the URLs").items()}
    paths = {}
    for source in sources:
        if source in names:
            new = {names[source]: source}
        else:
            new = image_files.find(source, IMAGES_ASKED)
        if duplicates := paths.keys() & new.keys():
            name = min(duplicates)
            raise InputError(
                f"Images must have unique names. Received: {name} as {paths[name]} and "
                f"as {new[name]}. Ask for them separately."
            )
        paths |= new
    return paths


def _check_server(settings: Request, model: Client, retry: Retry) -> int:
    try:
        return retry(model.check)
    except (Busy, Rejected) as error:
        reason = str(error).rstrip(".")
        raise InputError(
            f"No answer for the model '{settings.name}' from "
            f"{client.address(settings)}: {reason}. Start bin/serve there, or check "
            "--server and --name."
        ) from error


def _identity(settings: Request, version: int, sources: dict[str, str]) -> dict:
    """Returns what predictions in one folder must have in common."""
    paths = [
        (name, path if "://" in path else str(Path(path).absolute()))
        for name, path in sources.items()
    ]
    return {
        "server": client.address(settings),
        "name": settings.name,
        "version": version,
        "order": hashlib.sha256(json.dumps(paths).encode()).hexdigest(),
        **{name: getattr(settings, name) for name in ("overlays", "geojson", "bbox")},
    }


def _places(settings: Request, sources: dict[str, str]) -> Places | None:
    """Finds the places of the images, for GeoJSON."""
    if not settings.geojson:
        return None
    paths = {
        name: None if path.startswith(image_files.URLS) else path
        for name, path in sources.items()
    }
    found = places.find(paths, table=settings.places, fallback=settings.bbox)
    for fault in list(found.faults.values())[:_MAX_REPORTS] if found else ():
        _report(f"no place: {fault}")
    return found


def _names(settings: Request) -> list[str]:
    names = [outputs.CLEANED]
    names += [outputs.GEOJSON] * settings.geojson
    return names + [outputs.OVERLAYS] * (settings.overlays > 0)


def _check_box(settings: Request, path: str, retry: Retry) -> None:
    contents = images.read(path, retry)
    if isinstance(contents, Exception):
        return
    with contextlib.suppress(tf.errors.OpError):
        shape = preprocessing.decode(contents, CLOUDS.grid)[1].numpy()
        if warning := geojson.check_proportions(settings.bbox, shape):
            print(f"request: warning: {warning}", file=sys.stderr)


def _gather(
    settings: Request,
    sources: dict[str, str],
    model: Client,
    retry: Retry,
    journal: Journal,
) -> dict[str, str]:
    """Adds missing answers to the journal; returns the faults of the other images."""
    faults, before = {}, len(journal)
    missing = {name: path for name, path in sources.items() if name not in journal}
    with progress.bar(
        desc="request", unit="image", total=len(sources), initial=before
    ) as bar:
        for name, answer in _answers(settings, missing, model, retry):
            if isinstance(answer, Answer):
                texts, scores, _ = answer
                journal.add([Entry(image=name, plain=[], cleaned=texts, scores=scores)])
            else:
                faults[name] = str(answer)
                if len(faults) <= _MAX_REPORTS:
                    _report(f"{sources[name]}: {answer}")
            bar.update()
    if before:
        print(f"Already answered: {before} of {counted(len(sources), 'image')}.")
    return faults


def _answers(
    settings: Request, sources: dict[str, str], model: Client, retry: Retry
) -> Iterator[tuple[str, Answer | Exception]]:
    bands = _bands(model, retry)

    def work(names: Sequence[str]) -> list[tuple[str, Answer | Exception]]:
        results = {name: images.read(sources[name], retry, bands) for name in names}
        failed = {name for name in names if isinstance(results[name], Exception)}
        readable = [name for name in names if name not in failed]
        if readable:
            answers = ask(model, [results[name] for name in readable], retry)
            results.update(zip(readable, answers, strict=True))
        return list(results.items())

    names, size = list(sources), settings.batch_size
    batches = [names[k : k + size] for k in range(0, len(names), size)]
    with concurrent.futures.ThreadPoolExecutor(settings.concurrency) as pool:
        for results in pool.map(work, batches):
            yield from results


def _finish(
    settings: Request,
    sources: dict[str, str],
    results: Results,
    faults: dict[str, str],
    model: Client,
    retry: Retry,
    placed: Places | None,
) -> int:
    out, journal = Path(settings.out), results.journal
    if not len(journal):
        journal.path.unlink()
        name, fault = next(iter(faults.items()))
        raise InputError(
            f"None of {counted(len(faults), 'image')} was answered. The first: "
            f"{sources[name]}: {fault}"
        )
    spec = _spec(settings, model, retry)
    if settings.geojson and not placed:
        print(geojson.in_pixels(spec))
    located, unplaced = (placed.located, placed.faults) if placed else (None, {})
    unplaced = {name: fault for name, fault in unplaced.items() if name in journal}
    with contextlib.ExitStack() as stack:
        path = out / outputs.CLEANED
        contexts = [writers.submission(path, "cleaned", {}, spec.labels)]
        if settings.geojson:
            path = out / outputs.GEOJSON
            contexts.append(writers.collection(path, None, spec, located))
        adders = [stack.enter_context(context) for context in contexts]
        for entry in journal.entries(sources):
            for add in adders:
                add(entry)
    first = itertools.islice(journal.entries(sources), settings.overlays)
    bands, grid = _bands(model, retry) if settings.overlays else RGB, spec.grid
    pictures = (
        (images.picture(sources[each.image], grid, bands), each) for each in first
    )
    outputs.draw(out, pictures, spec)
    outputs.write_faults(out, faults)
    outputs.write_faults(out, unplaced, outputs.UNPLACED)
    results.end(faults, unplaced)
    written = ", ".join(str(out / name) for name in _names(settings))
    print(f"{counted(len(journal), 'image')}: {written}")
    if unplaced:
        path = str(out / outputs.UNPLACED)
        advice = placing.advice(unplaced, len(sources), path, "request")
        print(advice, file=sys.stderr)
    if not faults:
        return FAILED if unplaced else 0
    print(
        f"request: {len(faults)} of {counted(len(sources), 'image')} have no answer "
        f"and no rows; see {out / outputs.UNREADABLE}. The same command asks for these "
        "only.",
        file=sys.stderr,
    )
    return FAILED


def _bands(model: Client, retry: Retry) -> Bands:
    try:
        return retry(model.bands)
    except Busy:
        # The requests for masks then say what is wrong.
        return RGB


def _spec(settings: Request, model: Client, retry: Retry) -> MaskSpec:
    try:
        return retry(model.spec)
    except (Busy, Rejected) as error:
        raise InputError(
            f"All images are answered, but {client.address(settings)} no longer is "
            f"there to name its labels ({error}). Run the same command again."
        ) from error
