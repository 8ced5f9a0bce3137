"""Exports a run as a SavedModel for TensorFlow Serving, or for any TensorFlow.

A model's folder has a folder for each version, named by its number, and for the server
`models.config` and `batching_parameters.txt`. A version has, next to the SavedModel,
`model_card.md`, `signature.md`, `assets.extra/postprocess.json` (the post-processing
rule), `assets.extra/masks.json` (labels and grid of the masks),
`assets.extra/bands.json` (bands of the images, unless they are RGB),
`assets.extra/tf_serving_warmup_requests` and `assets.extra/SHA256SUMS`, which
`bin/serve` compares.
"""

import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from clouds.config import resolve
from clouds.config.prediction import Export
from clouds.config.rule import Rule, describe_source
from clouds.errors import InputError
from clouds.evaluation import results
from clouds.export import model_card, signatures, warmup
from clouds.export.signatures import Signature
from clouds.runs import network, run_facts, run_folder
from clouds.runtime import checksums, files
from clouds.schema import RGB

NAME = "clouds"
"""Name of the model on the server."""

EXTRA, MASKS, BANDS = "assets.extra", "masks.json", "bands.json"
MODELS, BATCHING = "models.config", "batching_parameters.txt"


def export(settings: Export) -> Path:
    """Writes the next version of a model; returns its folder.

    Raises:
      InputError: a run cannot be read, the folder is a run, or Keras does not run on
        TensorFlow.
    """
    _check(settings)
    training = network.settings(settings.run)
    tuned = run_folder.rule(settings.run[0])
    rule = settings.rule(tuned, training.spec)
    source = settings.rule_source(tuned is not None)
    warning = "tuned" in source and run_folder.rule_warning(settings.run)
    if warning:
        print(f"export: warning: {warning}", file=sys.stderr)
    weights = [run_folder.weights_checksum(folder) for folder in settings.run]
    loaded = network.load(
        settings.run, flips=settings.flips, precision=settings.precision
    )
    built = signatures.build(
        loaded,
        rule,
        records_size=training.records_size,
        exact=training.decode == "exact",
        spec=training.spec,
        bands=training.bands,
    )
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    with files.sole_writer(settings.out, "--out"):
        version = out / str(max(versions(out), default=0) + 1)
        # A server that watches the folder ignores names that are not numbers.
        part = out / "part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            _write_version(part, version.name, settings, rule, built)
            network.check_unchanged(settings.run, weights)
            part.rename(version)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        files.write(out / MODELS, models_config(versions(out)))
        files.write(out / BATCHING, _BATCHING)
    print(f"{version}: signatures {', '.join(built)}")
    if not training.bands.as_png:
        print(
            f"They take images as numbers, not files: no PNG holds {training.bands}, "
            "and a SavedModel decodes no TIFF."
        )
    print(describe_source(source, settings.run[0]))
    trained = _trained_precision(settings)
    if settings.precision not in (None, trained):
        print(
            f"The export computes in {settings.precision}, bin/predict in {trained}: "
            "some pixels of their masks may differ."
        )
    if "mixed_float16" in (settings.precision or trained):
        print(
            "The export computes in mixed_float16, which is slow on CPUs. For a CPU, "
            "export with --precision mixed_bfloat16 or float32."
        )
    return version


def versions(folder: Path) -> list[int]:
    """Lists the versions in a model's folder, in order."""
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def save(folder: Path, built: Mapping[str, Signature]) -> dict[str, dict]:
    """Writes a SavedModel; returns the `tf.TensorSpec` of each signature's outputs."""
    # The C++ loader finds no variables of a Keras 3 model, which is therefore not
    # stored as such. Concrete functions are not traced again while they are saved.
    traced = {
        name: tf.function(function, autograph=False).get_concrete_function(spec)
        for name, (function, spec) in built.items()
    }
    module = tf.Module()
    variables = (v for function in traced.values() for v in function.variables)
    module.all_variables = [*{id(v): v for v in variables}.values()]
    for name, function in traced.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(folder), signatures=traced)
    return {name: function.structured_outputs for name, function in traced.items()}


def models_config(numbers: Sequence[int]) -> str:
    """Formats TensorFlow Serving's configuration of a model's versions.

    It serves the newest version, labelled `latest`, and the one before, `previous`.
    """
    labels = dict(zip(("latest", "previous"), reversed(numbers[-2:]), strict=False))
    served = " ".join(f"versions: {number}" for number in labels.values())
    lines = [
        f'    version_labels {{ key: "{label}" value: {number} }}'
        for label, number in labels.items()
    ]
    return _MODELS.format(name=NAME, served=served, labels="\n".join(lines))


def _check(settings: Export) -> None:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            "Exporting needs Keras on TensorFlow; the run may be of any backend. "
            f"Received: KERAS_BACKEND={backend}. Set KERAS_BACKEND=tensorflow."
        )
    if Path(settings.out, resolve.FILE).is_file():
        raise InputError(
            "--out must be a separate folder for the model. Received: "
            f"'{settings.out}', which is a run. Give another, such as models/clouds."
        )


def _write_version(folder: Path, version: str, settings: Export, rule, built) -> None:
    outputs = save(folder, built)
    inputs = {name: spec for name, (_, spec) in built.items()}
    trained = run_folder.settings(settings.run[0])
    spec, bands = trained.spec, trained.bands
    described = model_card.signatures(version, inputs, outputs, spec, bands)
    files.write(folder / model_card.SIGNATURES, described)
    files.write(folder / model_card.MODEL, _card(version, settings, rule))
    extra = folder / EXTRA
    extra.mkdir()
    checksums.write_json(extra / run_folder.RULE, dataclasses.asdict(rule))
    checksums.write_json(extra / MASKS, spec._asdict())
    if bands != RGB:
        checksums.write_json(extra / BANDS, bands._asdict())
    warmup.write(extra / warmup.FILE, NAME, inputs, bands)
    checksums.write_list(folder)


def _card(version: str, settings: Export, rule: Rule) -> str:
    runs = [
        model_card.Trained(
            run_folder.settings(folder),
            run_facts.read(folder),
            run_folder.weights_checksum(folder),
        )
        for folder in settings.run
    ]
    measured = results.read(settings.run[0])
    return model_card.model(
        version,
        runs,
        rule,
        tuned=rule == run_folder.rule(settings.run[0]),
        metrics=measured and measured.facts,
        precision=settings.precision or _trained_precision(settings),
        flips=settings.flips,
    )


def _trained_precision(settings: Export) -> str:
    precisions = [run_folder.settings(folder).precision for folder in settings.run]
    return " and ".join(dict.fromkeys(precisions))


_MODELS = """\
# For --model_config_file of TensorFlow Serving; replaced by each bin/export.
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
# For --enable_batching --batching_parameters_file of TensorFlow Serving.
max_batch_size { value: 8 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 32 }
num_batch_threads { value: 2 }
"""
