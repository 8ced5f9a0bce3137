"""Versions of an exported model: the highest one is served, newer ones as they appear.

A model's folder has a folder for each version, named by its number, as `bin/export`
and TensorFlow Serving have it.
"""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.runs import exports
from clouds.runtime import checksums
from clouds.schema import RGB, Bands
from clouds.serving import protocol
from clouds.serving.protocol import Refusal, Row, Spec

FILES = "image_bytes"
"""Name of an input that takes image files."""

_RULE = Path("assets.extra", "postprocess.json")
_LATEST = "latest"
"""Label of the version that is served, as in bin/export's models.config."""

_OUTPUTS = "rle", "score", "area", "label"
_LOG = logging.getLogger(__name__)


class Signature:
    """A function of a loaded model.

    Attributes:
      inputs: type of each input.
      outputs: names of the outputs.
      takes_files: whether the only input is image files.
      bands: bands of the images.
    """

    def __init__(self, function, loaded, bands: Bands = RGB):
        self.bands = bands
        self._function = function
        # Keeps the function's variables alive.
        self._loaded = loaded
        self.inputs = {
            name: Spec(_dtype(spec), (None, *spec.shape[1:]))
            for name, spec in function.structured_input_signature[1].items()
        }
        self.outputs = set(function.structured_outputs)
        self.takes_files = list(self.inputs) == [FILES]

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """Returns the outputs of each row.

        Args:
          rows: inputs, of one shape.

        Raises:
          Refusal: the model cannot take them.
        """
        batch = {
            name: tf.constant(np.stack([row[name] for row in rows]))
            for name in self.inputs
        }
        try:
            outputs = self._function(**batch)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            # Clients do not get the message, which names nodes of the graph.
            _LOG.info("Refused by the model: %s", error.message)
            raise Refusal(400, self._expected(rows[0])) from error
        return protocol.split({name: value.numpy() for name, value in outputs.items()})

    def _expected(self, row: Row) -> str:
        is_rgb = self.bands == RGB
        if self.takes_files:
            kind = "JPEG, PNG or BMP" if is_rgb else f"PNG of {self.bands}"
            return (
                f"Image must be a complete {kind}. Received: "
                f"{len(row[FILES].item())} bytes that cannot be decoded."
            )
        expected = ", ".join(f"{name} {spec}" for name, spec in self.inputs.items())
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in row.items())
        values = "pixels from 0 to 255" if is_rgb else "finite values"
        return (
            f"Inputs must be {expected}, with {values}. Received: {shapes}, which the "
            "model does not accept."
        )


class Version:
    """A loaded version.

    Attributes:
      number: its number.
      signatures: functions by name.
      metadata: the `SignatureDef`s as JSON.
      rule: post-processing rule of its masks, or None if unknown.
      spec: labels and grid of its masks.
      bands: bands of the images.
    """

    def __init__(self, folder: Path):
        self.number = int(folder.name)
        exported = exports.load(str(folder))
        loaded, self.spec, self.bands = exported.model, exported.spec, exported.bands
        self.signatures = {
            name: Signature(function, loaded, self.bands)
            for name, function in loaded.signatures.items()
            if _is_batched(function)
        }
        self.metadata = _metadata(folder / exports.GRAPH)
        rule = folder / _RULE
        self.rule = Rule(**checksums.read_json(rule)) if rule.is_file() else None
        default = self.signatures.get(protocol.DEFAULT)
        takes_images = default and (default.takes_files or self.bands != RGB)
        fits = takes_images and default.outputs.issuperset(_OUTPUTS)
        if not fits or "probabilities" not in self.signatures:
            raise ValueError(
                f"it must have signatures {protocol.DEFAULT}, of {FILES} to "
                f"{', '.join(_OUTPUTS)}, and probabilities"
            )

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Runs batches of these sizes, so that first requests are fast."""
        pixel = np.zeros((1, 1, len(self.bands.names)), self.bands.dtype)
        for signature, size in itertools.product(self.signatures.values(), sizes):
            if signature.takes_files:
                file = tf.io.encode_png(pixel).numpy()
                signature([{FILES: np.array(file, object)}] * size)
            elif self.bands != RGB:
                signature([dict.fromkeys(signature.inputs, pixel)] * size)


class Model:
    """The versions of a model.

    Args:
      folder: folder of the versions.
      name: name of the model.
      warm: batch sizes to warm up with.

    Attributes:
      name: name of the model.
      version: version that is served.
      failed: numbers of the versions that cannot be loaded, with the state of their
        files.

    Raises:
      InputError: there is no version, or the highest cannot be loaded.
    """

    def __init__(self, folder: str, name: str, warm: Sequence[int] = ()):
        self.name = name
        self.failed: dict[int, list] = {}
        self._folder = Path(folder)
        self._warm = warm
        number = self._highest()
        if number is None and (self._folder / exports.GRAPH).is_file():
            raise InputError(
                "--model must be the folder of all versions of a model. Received: "
                f"'{folder}', which is a version. Give '{self._folder.parent}'."
            )
        if number is None:
            raise InputError(
                "--model must be a folder of versions, such as 1/, as written by "
                f"bin/export. Received: '{folder}', which holds none. Give another, or "
                "export a run first."
            )
        try:
            self.version = self._load(number)
        except Exception as error:
            raise InputError(
                f"TensorFlow {tf.__version__} cannot load the model "
                f"'{self._folder / str(number)}': {str(error).splitlines()[0]}. Export "
                "it again."
            ) from error

    def refresh(self) -> bool:
        """Loads the highest version unless it is served already.

        The old version stays if the new one cannot be loaded.

        Returns:
          Whether the version has changed.
        """
        number = self._highest()
        if number is None or number == self.version.number:
            return False
        state = self._state_of(number)
        try:
            self.version = self._load(number)
        except Exception:
            _LOG.exception("Version %d cannot be loaded", number)
            self.failed[number] = state
            return False
        self.failed.pop(number, None)
        return True

    def find(
        self, name: str | None = None, version: str | None = None, label: str = _LATEST
    ) -> Version:
        """Returns the version that the parts of a URL name.

        Raises:
          Refusal: it is another version or model than the one that is served; 404.
        """
        served = self.version
        self._check_name(name)
        if version not in (None, str(served.number)):
            raise self._no_version(version)
        if label != _LATEST:
            raise Refusal(
                404,
                f"Version label must be {_LATEST}, which is version {served.number}. "
                f"Received: {label[:40]!r}.",
            )
        return served

    def status(
        self, name: str | None = None, version: str | None = None, label: str = ""
    ) -> dict:
        """Returns TensorFlow Serving's JSON of the states of the versions.

        Args:
          name: name of the model, from a URL, as are the others.
          version: number of a version, to return this one only.
          label: label of a version, to return this one only.

        Raises:
          Refusal: there is no such model or version; 404.
        """
        self._check_name(name)
        if label:
            version = str(self.find(label=label).number)
        loaded = {**dict.fromkeys(self.failed, False), self.version.number: True}
        chosen = [k for k in sorted(loaded)[::-1] if version in (None, str(k))]
        if not chosen:
            raise self._no_version(version)
        return {"model_version_status": [_state(k, loaded=loaded[k]) for k in chosen]}

    def _check_name(self, name: str | None) -> None:
        if name not in (None, self.name):
            raise Refusal(404, "Servable not found: no model has this name.")

    def _no_version(self, version: str) -> Refusal:
        return Refusal(
            404,
            f"Version must be {self.version.number}, the one that is served, or be "
            f"left out. Received: {version[:40]!r}.",
        )

    def _highest(self) -> int | None:
        numbers = (
            int(path.parent.name)
            for path in self._folder.glob(f"*/{exports.GRAPH}")
            if path.parent.name.isdecimal()
        )
        return max((k for k in numbers if not self._has_failed(k)), default=None)

    def _has_failed(self, number: int) -> bool:
        """Whether a version cannot be loaded, and its files are still the same."""
        return number in self.failed and self.failed[number] == self._state_of(number)

    def _state_of(self, number: int) -> list:
        """Returns what changes while the files of a version are copied."""
        paths = sorted((self._folder / str(number)).rglob("*"))
        stats = [path.stat() for path in paths]
        return [
            (str(path), s.st_size, s.st_mtime_ns)
            for path, s in zip(paths, stats, strict=True)
        ]

    def _load(self, number: int) -> Version:
        version = Version(self._folder / str(number))
        version.warm_up(self._warm)
        return version


def _dtype(spec: tf.TensorSpec) -> np.dtype:
    return np.dtype(object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype)


def _is_batched(function) -> bool:
    specs = [
        *function.structured_input_signature[1].values(),
        *function.structured_outputs.values(),
    ]
    return all(spec.shape.rank and spec.shape[0] is None for spec in specs)


def _metadata(graph: Path) -> dict:
    saved = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    return {
        name: json_format.MessageToDict(
            definition,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name, definition in saved.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def _state(number: int, *, loaded: bool) -> dict:
    error = {"error_code": "UNKNOWN", "error_message": "It cannot be loaded."}
    ok = {"error_code": "OK", "error_message": ""}
    return {
        "version": str(number),
        "state": "AVAILABLE" if loaded else "END",
        "status": ok if loaded else error,
    }
