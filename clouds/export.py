"""Exports a run as a SavedModel for TensorFlow Serving, or for any TensorFlow.

A model's folder has a folder for each version, whose name is its number. Beside the
SavedModel it has `assets.extra/postprocess.json`, the rule by which masks are drawn.
"""

import dataclasses
import tempfile
from pathlib import Path

import keras

from clouds import config, ensemble, locks, run, signatures
from clouds.errors import InputError

EXTRA = "assets.extra"


def export(settings: config.Export) -> Path:
    """Writes the next version of a model.

    Args:
      settings: the runs, the folder, and how masks are drawn.

    Returns:
      The version's folder.

    Raises:
      InputError: a run cannot be read, or Keras does not run on TensorFlow.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            "Exporting needs Keras on TensorFlow; the run may be of any backend. "
            f"Received: KERAS_BACKEND={backend}. Set KERAS_BACKEND=tensorflow."
        )
    trained = ensemble.settings(settings.run)
    rule = settings.rule(run.rule(settings.run[0]))
    network = ensemble.load(
        settings.run, flips=settings.flips, precision=settings.precision
    )
    built = signatures.build(network, rule, exact=trained.decode == "exact")
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    with locks.sole_writer(settings.out, "--out"):
        version = out / str(max([0, *versions(out)]) + 1)
        # A server that watches the folder takes only what has a number for a name.
        with tempfile.TemporaryDirectory(prefix="part-", dir=out) as part:
            made = Path(part, version.name)
            _write(made, built)
            (made / EXTRA).mkdir()
            run.write_json(made / EXTRA / run.RULE, dataclasses.asdict(rule))
            made.rename(version)
    print(f"{version}: signatures {', '.join(built)}")
    return version


def versions(folder: Path) -> list[int]:
    """The versions in a model's folder, in order."""
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def _write(folder: Path, built: dict) -> None:
    # Not `tf.saved_model.save`: of a Keras 3 model the C++ loader finds no variables.
    # Endpoints bring their variables; to track the network would store them twice.
    archive = keras.export.ExportArchive()
    for name, (function, spec) in built.items():
        archive.add_endpoint(name, function, input_signature=[spec])
    archive.write_out(str(folder), verbose=False)
