"""Predicts masks of images, and goes on where a prediction was cut off.

The folder ends up with the files of `clouds.prediction.outputs` and those of `clouds.prediction.resume`.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from clouds import schema
from clouds.config.prediction import Prediction
from clouds.config.rule import Rule, describe_source
from clouds.errors import InputError
from clouds.postprocess import apply, functional
from clouds.prediction import geojson, inputs, outputs
from clouds.prediction.inputs import Batch, Source
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.resume import Results
from clouds.runs import network as run_network
from clouds.runs import run_folder
from clouds.runtime import files, progress
from clouds.text import counted

UNREADABLE = 3
"""Exit code where some images could not be read."""

_REPORTED = 20


def predict(settings: Prediction) -> int:
    """Predicts one batch after another, and keeps what is done.

    What is predicted, with the same settings, is not predicted again: neither in a
    folder that is finished nor in one that was left by a process that was killed or
    by images that could not be read, which alone are tried again.

    Args:
      settings: the run, the images, how to post-process and what to write.

    Returns:
      The exit code: 0, or 3 if some images could not be read. Those have no rows.

    Raises:
      InputError: run or images cannot be read, not one image can, the network gives
        NaN, or the folder holds other predictions.
    """
    trained = run_network.settings(settings.run)
    of_source = inputs.of_records if settings.records else inputs.of_files
    source = of_source(settings, trained)
    tuned = run_folder.rule(settings.run[0])
    rule = settings.rule(tuned)
    doubt = settings.bbox and geojson.doubt(settings.bbox, source.shape())
    if doubt:
        print(f"predict: warning: {doubt}", file=sys.stderr)
    known = _known(settings, rule, source)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    with files.sole_writer(settings.out, "--out"):
        results = Results(out, "predict", known)
        if not settings.overwrite:
            if results.finished(outputs.names(settings)):
                print(
                    f"{out}: predicted already, "
                    f"{counted(results.stored['images'], 'image')}. "
                    "Left as it is; --overwrite predicts again."
                )
                return 0
            results.check()
        print(describe_source(settings.rule_source(tuned is not None), settings.run[0]))
        if settings.geojson and not settings.bbox:
            print(geojson.IN_PIXELS)
        batch_entries = _predictor(settings, rule)
        results.begin(anew=settings.overwrite)
        faults = _predict(source, results.journal, batch_entries)
        return _finish(settings, source, results, faults)


def _known(settings: Prediction, rule: Rule, source: Source) -> dict:
    """What predictions must have in common to be of one folder."""
    return {
        "weights": [run_folder.weights_checksum(folder) for folder in settings.run],
        "flips": settings.flips,
        **dataclasses.asdict(rule),
        "images": source.place,
        "order": source.checksum,
        **{name: getattr(settings, name) for name in outputs.CHOICES},
    }


def _predictor(
    settings: Prediction, rule: Rule
) -> Callable[[Batch], list[Entry]]:
    """Loads the network: a function of a batch, to what is predicted of it."""
    network = run_network.load(settings.run, flips=settings.flips)
    scored = settings.geojson or settings.coco
    size = schema.SUBMISSION_SIZE

    @tf.function(reduce_retracing=True)
    def draw(probabilities, shown):
        texts = apply(probabilities, rule, shown, size, outputs=("raw_rle", "rle")).values()
        if not scored:
            return *texts, ()
        # As bin/evaluate and an export have it.
        resized = functional.resize(probabilities, size)
        return *texts, functional.presence(resized)

    def entries(batch: Batch) -> list[Entry]:
        probabilities = np.asarray(network.predict_on_batch(batch.images))
        _refuse_nan(batch.names, probabilities, settings.run)
        if settings.probabilities:
            for name, of_image in zip(batch.names, probabilities, strict=True):
                outputs.write_probabilities(
                    Path(settings.out), name, of_image, settings.probabilities
                )
        plain, cleaned, scores = draw(probabilities, batch.images)
        plain, cleaned = plain.numpy().astype(str), cleaned.numpy().astype(str)
        return [
            Entry(
                image=name,
                plain=plain[k].tolist(),
                cleaned=cleaned[k].tolist(),
                scores=scores[k].numpy().astype(float).round(4).tolist()
                if scored
                else None,
            )
            for k, name in enumerate(batch.names)
        ]

    return entries


def _refuse_nan(names: list[str], probabilities: np.ndarray, runs) -> None:
    broken = np.isnan(probabilities).any(axis=(1, 2, 3))
    if broken.any():
        raise InputError(
            f"Probabilities must be numbers. Received: NaN in those of "
            f"{broken.sum()} of {counted(len(names), 'image')} of a batch, the first "
            f"{names[int(broken.argmax())]}, from {', '.join(runs)}. Look into its "
            "history for a loss that is none, and train with --precision float32."
        )


def _predict(
    source: Source, journal: Journal, batch_entries: Callable[[Batch], list[Entry]]
) -> dict[str, str]:
    """Predicts what the journal lacks; returns what is wrong with the others."""
    faults = {}
    before = len(journal)
    with progress.bar(
        desc="predict", unit="image", total=source.total, initial=before
    ) as bar:
        for batch in source.batches(lambda name: name not in journal):
            for name, fault in batch.faults.items():
                if len(faults) < _REPORTED:
                    progress.write(f"predict: unreadable: {fault}")
                faults[name] = fault
            if batch.names:
                journal.add(batch_entries(batch))
            bar.update(len(batch.names) + len(batch.faults))
    if before:
        print(f"Predicted before: {before} of {counted(source.total, 'image')}.")
    return faults


def _finish(
    settings: Prediction,
    source: Source,
    results: Results,
    faults: dict[str, str],
) -> int:
    out, journal = Path(settings.out), results.journal
    if not len(journal):
        journal.path.unlink()
        raise InputError(
            f"At least one image must be readable. Received: {len(faults)} that are "
            f"not, the first: {next(iter(faults.values()))}"
        )
    outputs.write(out, settings, journal.entries(source.names), source.orders)
    outputs.write_unreadable(out, faults)
    first = itertools.islice(journal.entries(source.names), settings.overlays)
    wanted = {entry.image for entry in first}
    drawn = outputs.draw(out, _images(source, journal, wanted))
    results.end(faults, run=settings.run)
    print(f"{counted(len(journal), 'image')}: {outputs.summary(out, settings, drawn)}")
    if not faults:
        return 0
    _warn(settings, source, faults)
    return UNREADABLE


def _images(
    source: Source, journal: Journal, wanted: set[str]
) -> Iterator[tuple[np.ndarray, Entry]]:
    """Yields images once more, as large as they are drawn, with what was predicted."""
    shown = (
        pair
        for batch in source.batches(wanted.__contains__, schema.SUBMISSION_SIZE)
        for pair in zip(batch.names, batch.images, strict=True)
    )
    for name, image in itertools.islice(shown, len(wanted)):
        yield image, next(journal.entries([name]))


def _warn(settings: Prediction, source: Source, faults: dict) -> None:
    sample = settings.sample_submission
    lacking = f", which so lack rows of {sample}" if sample else ""
    listed = Path(settings.out) / outputs.UNREADABLE
    print(
        f"predict: {len(faults)} of {counted(source.total, 'image')} could not be read "
        f"and got no rows in the submissions{lacking}. {listed} says why. Replace the "
        "files that it names, and the same command predicts them alone; to go without "
        "them, leave all as it is.",
        file=sys.stderr,
    )
