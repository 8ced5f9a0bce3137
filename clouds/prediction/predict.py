"""Predicts the masks of images, and resumes an interrupted prediction.

The folder ends up with the files of `outputs` and those of `resume`.
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clouds.config.prediction import Prediction
from clouds.config.rule import Rule, describe_source
from clouds.config.training import Training
from clouds.data.masks.csv_rows import STANDARD
from clouds.errors import InputError
from clouds.geo.places import Places
from clouds.plots.false_colour import to_rgb
from clouds.postprocess import apply
from clouds.prediction import (
    geojson,
    gridded,
    inputs,
    maps,
    outputs,
    placing,
    writers,
)
from clouds.prediction.inputs import Batch, Source
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.resume import Results
from clouds.prediction.tiling import plan, tiled
from clouds.runs import network, run_folder
from clouds.runtime import files, progress
from clouds.schema import CLOUDS, MaskSpec
from clouds.text import counted

UNREADABLE = 3
"""Exit code if some images, or their places, could not be read."""

_REPORTED = 20


def predict(settings: Prediction) -> int:
    """Predicts images batch by batch, and keeps what is done.

    Images that were predicted with the same settings are not predicted again, neither
    in a finished folder nor after an interruption. Unreadable images are tried again.

    Args:
      settings: run, images, post-processing and files to write.

    Returns:
      The exit code: 0, or 3 if some images could not be read, which have no rows, or
      have no place, where others have one.

    Raises:
      InputError: the run or the images cannot be read, not even one image, the network
        returns NaN, or the folder holds other predictions.
    """
    trained = network.settings(settings.run)
    open_source = inputs.RecordImages if settings.records else inputs.FileImages
    source = open_source(settings, trained)
    tuned = run_folder.rule(settings.run[0])
    rule = settings.rule(tuned, trained.spec)
    rule_source = settings.rule_source(tuned is not None)
    places = placing.find(settings, source.paths)
    if settings.located:
        gridded.check(settings, places, source.paths)
    if settings.in_tiles:
        plan.check(settings, trained, rule, places, source.paths)
    warnings = (
        settings.bbox
        and not settings.in_tiles
        and geojson.check_proportions(settings.bbox, source.shape()),
        "tuned" in rule_source and run_folder.rule_warning(settings.run),
    )
    for warning in filter(None, warnings):
        print(f"predict: warning: {warning}", file=sys.stderr)
    identity = _identity(settings, rule, source, trained.spec)
    provenance = gridded.provenance(settings, rule, identity["weights"])
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    if settings.masks or settings.probabilities or settings.geotiff:
        # Records are checked batch by batch.
        writers.check_names(out, source.names or (), trained.labels)
    with files.sole_writer(settings.out, "--out"):
        facts = {"places": places.checksum} if places else {}
        results = Results(out, "predict", identity, facts)
        if not settings.overwrite:
            if results.finished(outputs.names(settings)):
                images = counted(results.stored["images"], "image")
                print(
                    f"{out}: already predicted, {images}. --overwrite predicts again."
                )
                return 0
            results.check()
            gridded.check_new(settings, results.stored)
        if settings.zarr:
            gridded.check_store(
                settings, places, source.paths, provenance, trained.spec
            )
        print(describe_source(rule_source, settings.run[0]))
        if settings.geojson and not (places or settings.bbox or settings.records):
            print(geojson.in_pixels(trained.spec))
        predictor = _load(settings, trained, rule, source, places)
        network.check_unchanged(settings.run, identity["weights"])
        results.start(overwrite=settings.overwrite)
        journal = results.journal

        def is_missing(name: str) -> bool:
            is_kept = not maps.needed(settings) or maps.is_kept(out, name)
            return name not in journal or not is_kept

        faults = _add_missing(source.total, journal, predictor(is_missing))
        if settings.located:
            gridded.write(settings, places, journal, rule, provenance, trained.spec)
        return _finish(settings, source, results, faults, trained.spec, places)


def _identity(settings: Prediction, rule: Rule, source: Source, spec: MaskSpec) -> dict:
    """Returns what all predictions in one folder must have in common."""
    return {
        "weights": [run_folder.weights_checksum(folder) for folder in settings.run],
        "flips": settings.flips,
        **dataclasses.asdict(rule),
        "images": source.place,
        "order": source.checksum,
        **{name: getattr(settings, name) for name in outputs.CHOICES},
        **{
            name: value
            for name in outputs.LATER_CHOICES
            if (value := getattr(settings, name))
        },
        **({"tiles": plan.identity(settings)} if settings.in_tiles else {}),
        # Predictions of earlier versions are the competition's.
        **({} if spec == CLOUDS else {"spec": spec._asdict()}),
        **({} if source.header == STANDARD else {"header": source.header}),
    }


def _load(
    settings: Prediction,
    trained: Training,
    rule: Rule,
    source: Source,
    places: Places | None,
) -> Callable[[Callable[[str], bool]], Iterable[tuple[list[Entry], dict]]]:
    """Loads the network.

    Returns:
      A function from whether an image is wanted, by its name, to the entries of these,
      and the errors of those that are unreadable, step by step.
    """
    model = network.load(settings.run, flips=settings.flips)
    if settings.in_tiles:
        tiles = tiled.Tiles(settings, trained, rule, model, places)
        return functools.partial(tiles.predict, source.paths)
    predict_batch = _batch_predictor(settings, rule, trained.spec, model)
    return lambda is_missing: (
        (predict_batch(batch) if batch.names else [], batch.faults)
        for batch in source.batches(is_missing)
    )


def _batch_predictor(
    settings: Prediction, rule: Rule, spec: MaskSpec, model: keras.Model
) -> Callable[[Batch], list[Entry]]:
    """Returns a function from a batch to its entries."""
    with_scores = settings.with_scores
    results = ("raw_rle", "rle", *["scores"] * bool(with_scores))
    size = spec.grid

    @tf.function(reduce_retracing=True)
    def postprocess(probabilities, class_scores, images):
        options = {"class_scores": class_scores, "outputs": results}
        found = apply(probabilities, rule, images, size, **options)
        return [found[name] for name in results]

    def predict_batch(batch: Batch) -> list[Entry]:
        probabilities, class_scores = network.predict(model, batch.images)
        network.check_finite(batch.names, probabilities, settings.run)
        if settings.masks or settings.probabilities:
            writers.check_names(Path(settings.out), batch.names, spec.labels)
        if maps.needed(settings):
            out = Path(settings.out)
            maps.keep(out, batch.names, probabilities, batch.images, spec.grid)
        if settings.probabilities:
            for name, image in zip(batch.names, probabilities, strict=True):
                writers.probabilities(
                    Path(settings.out), name, image, settings.probabilities, spec.labels
                )
        raw, cleaned, *scores = postprocess(probabilities, class_scores, batch.images)
        raw, cleaned = raw.numpy().astype(str), cleaned.numpy().astype(str)
        if with_scores:
            scores = scores[0].numpy().astype(float).round(4).tolist()
        return [
            Entry(
                image=name,
                plain=raw[k].tolist(),
                cleaned=cleaned[k].tolist(),
                scores=scores[k] if with_scores else None,
            )
            for k, name in enumerate(batch.names)
        ]

    return predict_batch


def _add_missing(
    total: int, journal: Journal, predicted: Iterable[tuple[list[Entry], dict]]
) -> dict[str, str]:
    """Adds entries to the journal as they come; returns the unreadable images."""
    faults = {}
    existing = len(journal)
    with progress.bar(
        desc="predict", unit="image", total=total, initial=existing
    ) as bar:
        for entries, unreadable in predicted:
            for name, fault in unreadable.items():
                if len(faults) < _REPORTED:
                    progress.write(f"predict: unreadable: {fault}")
                faults[name] = fault
            if entries:
                journal.add(entries)
            bar.update(len(entries) + len(unreadable))
    if existing:
        print(f"Already predicted: {existing} of {counted(total, 'image')}.")
    return faults


def _finish(
    settings: Prediction,
    source: Source,
    results: Results,
    faults: dict[str, str],
    spec: MaskSpec,
    places: Places | None,
) -> int:
    out, journal = Path(settings.out), results.journal
    if not len(journal):
        journal.path.unlink()
        raise InputError(
            f"None of {counted(len(faults), 'image')} could be read, first: "
            f"{next(iter(faults.values()))}"
        )
    if source.paths is None:
        # Records tell the names of their images only now.
        places = placing.find(settings, dict.fromkeys(journal))
    located, unplaced = (places.located, places.faults) if places else (None, {})
    unplaced = {name: fault for name, fault in unplaced.items() if name in journal}
    entries = journal.entries(source.names)
    outputs.write(out, settings, entries, source.orders, spec, source.header, located)
    outputs.write_faults(out, faults)
    outputs.write_faults(out, unplaced, outputs.UNPLACED)
    first = itertools.islice(journal.entries(source.names), settings.overlays)
    selected = {entry.image for entry in first}
    trained = run_folder.settings(settings.run[0])
    pictures = (
        tiled.pictures(settings, trained, source.paths, journal, selected)
        if settings.in_tiles
        else _pictures(source, journal, selected, trained)
    )
    drawn = outputs.draw(out, pictures, spec)
    results.end(faults, unplaced, run=settings.run)
    print(f"{counted(len(journal), 'image')}: {outputs.summary(out, settings, drawn)}")
    if not journal.path.exists():
        maps.clear(out)
        tiled.clear(out)
    if unplaced:
        path = out / outputs.UNPLACED
        print(placing.advice(unplaced, source.total, str(path)), file=sys.stderr)
    if faults:
        _report_unreadable(settings, source, faults)
    return UNREADABLE if faults or unplaced else 0


def _pictures(
    source: Source, journal: Journal, selected: set[str], trained: Training
) -> Iterator[tuple[np.ndarray, Entry]]:
    """Yields images again, at the size of the pictures in colours, with entries."""
    pairs = (
        pair
        for batch in source.batches(selected.__contains__, trained.grid)
        for pair in zip(batch.names, batch.images, strict=True)
    )
    for name, image in itertools.islice(pairs, len(selected)):
        picture = to_rgb(image, trained.bands, trained.show_bands)
        yield picture, next(journal.entries([name]))


def _report_unreadable(settings: Prediction, source: Source, faults: dict) -> None:
    sample = settings.sample_submission
    incomplete = f", which lack rows of {sample}" if sample else ""
    print(
        f"predict: {len(faults)} of {counted(source.total, 'image')} could not be read "
        f"and have no rows in the submissions{incomplete}. See "
        f"{Path(settings.out) / outputs.UNREADABLE}. Replace these files and run the "
        "same command again, which predicts only them.",
        file=sys.stderr,
    )
