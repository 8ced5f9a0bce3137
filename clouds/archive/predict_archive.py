"""Predicts an archive of images (the command `bin/predict-archive`)."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from clouds.archive import results
from clouds.config.archive import Archive
from clouds.data.images import image_files
from clouds.errors import InputError
from clouds.runs import exports
from clouds.runtime import checksums, files, progress, startup
from clouds.schema import MaskSpec
from clouds.text import counted

FILE = "archive.json"

_TYPES = {"model": str, "images": str, "count": int, "chunk": int}


def predict(settings: Archive) -> int:
    """Predicts images chunk by chunk, and writes their results.

    Args:
      settings: model, images, runner and output folder.

    Returns:
      3 if an image failed, else 0.

    Raises:
      InputError: Beam is not installed; model or images cannot be found; or the folder
        holds results of others.
    """
    try:
        inference = startup.load("clouds.archive.inference")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed, which bin/predict-archive needs. Run "
            "bin/setup beam."
        ) from error
    version, spec = _version(settings.model)
    images = list(image_files.find(settings.images).items())
    chunks = [
        images[first : first + settings.chunk]
        for first in range(0, len(images), settings.chunk)
    ]
    tf.io.gfile.makedirs(settings.out)
    with files.sole_writer(settings.out, "--out"):
        results.clear_parts(settings.out)
        identity = _start(settings, version, images)
        with progress.bar(desc="archive", unit="image", total=len(images)) as bar:
            for number, chunk in enumerate(chunks):
                stored = results.read_chunk(settings.out, number)
                kept, missing = _divide(chunk, stored, retry=settings.retry_failed)
                if missing:
                    found = kept + inference.run(settings, version, missing)
                    names = [name for name, _ in chunk]
                    results.write_chunk(settings.out, number, names, found, spec)
                bar.update(len(chunk))
        everything = _all_results(settings.out, len(chunks))
        # Without it, the results could not be used again.
        checksums.write_json(f"{settings.out}/{FILE}", identity)
        drawn, failed = results.write_tables(settings.out, everything, spec.labels)
    print(f"{settings.out}: {counted(drawn, 'image')} with masks, {failed:,} failed")
    if failed:
        print(
            f"See {settings.out}/{results.FAILED}. --retry-failed predicts these "
            "images again.",
            file=sys.stderr,
        )
    return 3 if failed else 0


def _version(model: str) -> tuple[str, MaskSpec]:
    """Returns the folder of a version after checking it, with labels and grid."""
    version = exports.highest(model)
    if not tf.io.gfile.exists(f"{version}/{exports.GRAPH}"):
        raise InputError(
            f"'{version}' has no {exports.GRAPH}: the export is incomplete. Export "
            "again."
        )
    try:
        spec, bands = exports.spec(version), exports.bands(version)
        checksums.check_list(version)
    except ValueError as error:
        raise InputError(
            f"'{version}' is damaged ({error}). Copy or export it again."
        ) from error
    if not bands.as_png:
        raise InputError(
            f"'{version}' takes numbers of {bands}, not files. Predict with the run: "
            "bin/predict --run DIR."
        )
    return version, spec


def _start(settings: Archive, version: str, images: list[tuple[str, str]]) -> dict:
    """Stores and returns what results are of, or compares it with what is stored."""
    path = f"{settings.out}/{FILE}"
    listed = "\n".join(
        f"{name} {location if '://' in location else Path(location).absolute()}"
        for name, location in images
    )
    identity = {
        "model": exports.checksum(version),
        "images": hashlib.sha256(listed.encode()).hexdigest(),
        "count": len(images),
        "chunk": settings.chunk,
    }
    if settings.overwrite:
        results.clear(settings.out)
    elif tf.io.gfile.exists(path):
        try:
            stored = checksums.read_json(path, _TYPES)
        except ValueError as error:
            raise InputError(
                f"{path} is damaged ({error}). Give --overwrite."
            ) from error
        if changed := [key for key in identity if stored[key] != identity[key]]:
            raise InputError(
                f"--out: '{settings.out}' has results of another {changed[0]}. Give "
                "another folder, or --overwrite."
            )
        return identity
    elif results.find_chunks(settings.out):
        raise InputError(
            f"--out: '{settings.out}' has results, but no {FILE} that says of what. "
            "Give another folder, or --overwrite."
        )
    checksums.write_json(path, identity)
    return identity


def _divide(
    chunk: list[tuple[str, str]], stored: list[dict] | None, *, retry: bool
) -> tuple[list[dict], list[tuple[str, str]]]:
    """Divides a chunk into results to keep and images to predict."""
    if stored and [result["image"] for result in stored] != [name for name, _ in chunk]:
        raise InputError(
            f"The results of the chunk with {chunk[0][0]} are of other images. Give "
            "--overwrite."
        )
    kept = [result for result in stored or () if not (retry and "failed" in result)]
    done = {result["image"] for result in kept}
    return kept, [image for image in chunk if image[0] not in done]


def _all_results(out: str, chunks: int) -> Iterator[dict]:
    for number in range(chunks):
        yield from results.read_chunk(out, number)
