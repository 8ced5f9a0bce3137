"""Exports a run as a SavedModel for TensorFlow Serving, or for any TensorFlow.

A model's folder has a folder for each version, whose name is its number, and for the
server `models.config` and `batching_parameters.txt`. A version holds, beside the
SavedModel, `model_card.md`, `signature.md`, `assets.extra/postprocess.json`, the rule
by which masks are drawn, and `assets.extra/tf_serving_warmup_requests`.
"""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import keras

from clouds.config import resolve
from clouds.config.prediction import Export
from clouds.config.rule import describe_source
from clouds.errors import InputError
from clouds.evaluation import results
from clouds.export import model_card, signatures, warmup
from clouds.export.signatures import Signature
from clouds.runs import network as run_network
from clouds.runs import run_folder
from clouds.runtime import files

NAME = "clouds"
"""Under which the model is served."""

EXTRA = "assets.extra"
MODELS, BATCHING = "models.config", "batching_parameters.txt"


def export(settings: Export) -> Path:
    """Writes the next version of a model.

    Args:
      settings: the runs, the folder, and how masks are drawn.

    Returns:
      The version's folder.

    Raises:
      InputError: a run cannot be read, the folder is one, or Keras does not run on
        TensorFlow.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            "Exporting needs Keras on TensorFlow; the run may be of any backend. "
            f"Received: KERAS_BACKEND={backend}. Set KERAS_BACKEND=tensorflow."
        )
    if Path(settings.out, resolve.FILE).is_file():
        raise InputError(
            "--out must be a folder of a model's own. Received: "
            f"'{settings.out}', which is a run. Give another, such as models/clouds."
        )
    trained = run_network.settings(settings.run)
    tuned = run_folder.rule(settings.run[0])
    rule = settings.rule(tuned)
    network = run_network.load(
        settings.run, flips=settings.flips, precision=settings.precision
    )
    predicted = _listed(run_folder.settings(place).precision for place in settings.run)
    precision = settings.precision or predicted
    built = signatures.build(network, rule, exact=trained.decode == "exact")
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    with files.sole_writer(settings.out, "--out"):
        known = versions(out)
        version = out / str(known[-1] + 1 if known else 1)
        # A server that watches the folder takes only what has a number for a name.
        part = out / "part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            outputs = save(part, built)
            _add(part, version.name, settings, precision, rule, built, outputs)
            part.rename(version)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        files.write(str(out / MODELS), models_config(versions(out)))
        files.write(str(out / BATCHING), _BATCHING)
    print(f"{version}: signatures {', '.join(built)}")
    print(describe_source(settings.rule_source(tuned is not None), settings.run[0]))
    if precision != predicted:
        print(
            f"It computes in {precision}, bin/predict in {predicted}: some pixels of "
            "their masks may differ."
        )
    if "mixed_float16" in precision:
        print(
            f"It computes in {precision}, as it was trained: CPUs are slow at float16. "
            "For one, export with --precision mixed_bfloat16 or float32."
        )
    return version


def versions(folder: Path) -> list[int]:
    """Lists the versions in a model's folder, in order."""
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def save(folder: Path, built: Mapping[str, Signature]) -> dict[str, dict]:
    """Writes a SavedModel.

    Args:
      folder: for it.
      built: its signatures.

    Returns:
      What each gives, `tf.TensorSpec` by name.
    """
    # Not `tf.saved_model.save`: of a Keras 3 model the C++ loader finds no variables.
    # Endpoints bring their variables; to track the network would store them twice.
    archive = keras.export.ExportArchive()
    endpoints = {
        name: archive.add_endpoint(name, function, input_signature=[spec])
        for name, (function, spec) in built.items()
    }
    archive.write_out(str(folder), verbose=False)
    return {
        name: endpoint.get_concrete_function().structured_outputs
        for name, endpoint in endpoints.items()
    }


def models_config(known: Sequence[int]) -> str:
    """Writes TensorFlow Serving's configuration of a model.

    Args:
      known: its versions, in order.

    Returns:
      Its text: the newest version, labelled `latest`, and the one before, `previous`.
    """
    labels = dict(zip(("latest", "previous"), reversed(known[-2:]), strict=False))
    served = " ".join(f"versions: {number}" for number in labels.values())
    lines = [
        f'    version_labels {{ key: "{label}" value: {number} }}'
        for label, number in labels.items()
    ]
    return _MODELS.format(name=NAME, served=served, labels="\n".join(lines))


def _add(folder, version, settings, precision, rule, built, outputs) -> None:
    """Adds what lies beside the SavedModel of a version."""
    inputs = {name: spec for name, (_, spec) in built.items()}
    extra = folder / EXTRA
    extra.mkdir()
    files.write_json(extra / run_folder.RULE, dataclasses.asdict(rule))
    warmup.write(extra / warmup.FILE, NAME, inputs)
    measured = results.read(settings.run[0])
    described = model_card.signatures(version, inputs, outputs)
    (folder / model_card.SIGNATURES).write_text(described)
    card = model_card.model(
        version,
        [_trained(place) for place in settings.run],
        rule,
        tuned=rule == run_folder.rule(settings.run[0]),
        metrics=measured and measured.facts,
        precision=precision,
        flips=settings.flips,
    )
    (folder / model_card.MODEL).write_text(card)


def _listed(words: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(words))


def _trained(place: str) -> model_card.Trained:
    facts, weights = run_folder.read_facts(place), run_folder.weights_checksum(place)
    return model_card.Trained(run_folder.settings(place), facts, weights)


_MODELS = """\
# Written anew by each bin/export; of TensorFlow Serving, --model_config_file.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {served} }} }}
{labels}
  }}
}}
"""

_BATCHING = """\
# Of TensorFlow Serving, --enable_batching --batching_parameters_file.
max_batch_size { value: 8 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 32 }
num_batch_threads { value: 2 }
"""
