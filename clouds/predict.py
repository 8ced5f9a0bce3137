"""Predicts masks of images, and goes on where a prediction was cut off.

While it goes on the folder holds `predict.jsonl.part`, the journal of the images that
are done; when it has ended `predict.json`, with its settings and what came of it,
beside the files of `clouds.outputs`.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clouds import config, ensemble, locks, manifest, outputs, pixels, postprocess
from clouds import run, schema, sources
from clouds.errors import InputError
from clouds.journal import Entry, Journal
from clouds.rules import Rule
from clouds.sources import Batch, Source

JOURNAL, DONE = "predict.jsonl.part", "predict.json"

UNREADABLE = 3
"""Exit code where some images could not be read."""


def predict(settings: config.Prediction) -> int:
    """Predicts one batch after another, and keeps what is done.

    Args:
      settings: the run, the images, how to post-process and what to write.

    Returns:
      The exit code: 0, or 3 if some images could not be read.

    Raises:
      InputError: run or images cannot be read, not one image can, or the folder
        holds other predictions.
    """
    trained = ensemble.settings(settings.run)
    of_source = sources.of_records if settings.records else sources.of_files
    source = of_source(settings, trained)
    if settings.masks or settings.probabilities:
        outputs.check_stems(source.names or ())
    rule = settings.rule(run.rule(settings.run[0]))
    known = _known(settings, rule, source)
    with _sole_writer(settings.out) as out:
        journal = Journal(out / JOURNAL)
        done = _done(out, settings, known, journal)
        if done:
            print(f"{_already(out, done)} --overwrite predicts them again.")
            return UNREADABLE if done["unreadable"] else 0
        if settings.overwrite or journal.settings is None:
            start = _starting(out, journal, known)
        else:
            start = None
        faults = _predict(settings, rule, source, journal, start)
        return _finish(out, settings, known, source, journal, faults)
