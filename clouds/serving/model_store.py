"""An exported model: its highest version is served, also one that comes later.

A model's folder has a folder for each version, whose name is its number, as
`bin/export` and TensorFlow Serving have it.
"""

import itertools
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.serving import protocol
from clouds.serving.protocol import Refusal, Spec

FILE = "saved_model.pb"
FILES = "image_bytes"
RULE = Path("assets.extra", "postprocess.json")

Row = dict[str, np.ndarray]
"""The inputs or outputs of a signature for one image, by name."""

LATEST = "latest"
"""The label of the version that is served, as bin/export's models.config has it."""

_OUTPUTS = "rle", "score", "area", "label"
_LOG = logging.getLogger(__name__)
_A_PIXEL = tf.io.encode_png(np.zeros((1, 1, 3), np.uint8)).numpy()


class Signature:
    """A function of a loaded model, of rows.

    Attributes:
      inputs: by name.
      outputs: their names.
      takes_files: whether these are image files.
    """

    def __init__(self, function, loaded):
        self._function = function
        # Which holds the function's variables; the function does not.
        self._loaded = loaded
        specs = function.structured_input_signature[1]
        self.inputs = {
            name: Spec(_dtype(spec), (None, *spec.shape[1:]))
            for name, spec in specs.items()
        }
        self.outputs = set(function.structured_outputs)
        self.takes_files = list(self.inputs) == [FILES]

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """Calls it.

        Args:
          rows: of one shape.

        Returns:
          The outputs for each.

        Raises:
          Refusal: it cannot take them.
        """
        batch = {
            name: tf.constant(np.stack([row[name] for row in rows]))
            for name in self.inputs
        }
        try:
            outputs = self._function(**batch)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as fault:
            # Its text names nodes of the graph, and is not to be shown.
            _LOG.info("refused by the model: %s", fault.message)
            raise Refusal(400, self._expected(rows[0])) from fault
        outputs = {name: value.numpy() for name, value in outputs.items()}
        return [
            {name: protocol.take(value, k) for name, value in outputs.items()}
            for k in range(len(rows))
        ]

    def _expected(self, row: Row) -> str:
        if self.takes_files:
            length = len(row[FILES].item())
            return (
                f"Image must be a whole JPEG, PNG or BMP. Received: {length} bytes, "
                "which cannot be decoded."
            )
        wanted = ", ".join(f"{name} {spec}" for name, spec in self.inputs.items())
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in row.items())
        return (
            f"Inputs must be such as the model takes: {wanted}, of pixels from 0 to "
            f"255. Received: {shapes}, which it does not take."
        )


class Version:
    """A loaded version.

    Attributes:
      number: of it.
      signatures: by name.
      metadata: the `SignatureDef`s as JSON.
      rule: by which its masks are drawn; None if it does not tell.
    """

    def __init__(self, folder: Path):
        """Loads a version from its folder."""
        self.number = int(folder.name)
        loaded = tf.saved_model.load(str(folder))
        self.signatures = {
            name: Signature(function, loaded)
            for name, function in loaded.signatures.items()
            if _in_batches(function)
        }
        self.metadata = _metadata(folder)
        told = folder / RULE
        self.rule = Rule(**json.loads(told.read_text())) if told.is_file() else None

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Makes the first requests as fast as the others.

        Args:
          sizes: of batches.
        """
        for signature, size in itertools.product(self.signatures.values(), sizes):
            if signature.takes_files:
                signature([{FILES: np.array(_A_PIXEL, object)}] * size)


class Model:
    """A model's folder, and the version that is served.

    Args:
      folder: of the versions.
      name: of the model.
      warm: sizes of batches to warm up with.

    Attributes:
      name: of the model.
      version: that is served.
      failed: the versions that could not be loaded.
    """

    def __init__(self, folder: str, name: str, warm: Sequence[int] = ()):
        """Loads the highest version.

        Raises:
          InputError: there is none, or it cannot be loaded.
        """
        self.name = name
        self.failed: set[int] = set()
        self._folder = Path(folder)
        self._warm = warm
        self._loading = threading.Lock()
        number = self._highest()
        if number is None and (self._folder / FILE).is_file():
            raise InputError(
                "--model must be the folder above a version's, which holds them all. "
                f"Received: '{folder}', a version. Give '{self._folder.parent}'."
            )
        if number is None:
            raise InputError(
                "--model must be a folder of versions, such as 1/, as bin/export "
                f"--out writes them. Received: '{folder}', which holds none. Give "
                "another, or export a run to a new one."
            )
        try:
            self.version = self._load(number)
        except Exception as fault:
            raise InputError(
                "A version must be a SavedModel that TensorFlow "
                f"{tf.__version__} can load. Received: '{self._folder / str(number)}' "
                f"({str(fault).splitlines()[0]}). Export it again."
            ) from fault

    def refresh(self) -> bool:
        """Loads the highest version, if that is another than the one served.

        One that cannot be loaded is left alone, and the old one stays.

        Returns:
          Whether another is served from now on.
        """
        with self._loading:
            number = self._highest()
            if number is None or number == self.version.number:
                return False
            try:
                self.version = self._load(number)
            except Exception:
                _LOG.exception("version %d cannot be loaded", number)
                self.failed.add(number)
                return False
            return True

    def status(self, number: int | None = None) -> dict:
        """The state of the versions, as TensorFlow Serving tells it.

        Args:
          number: of the only one wanted.

        Raises:
          Refusal: there is no such version; 404.
        """
        states = {failed: _state(failed, loaded=False) for failed in self.failed}
        states[self.version.number] = _state(self.version.number, loaded=True)
        if number is not None:
            if number not in states:
                raise self.absent(number)
            states = {number: states[number]}
        return {"model_version_status": [states[k] for k in sorted(states)[::-1]]}

    def served(self, number: int | None) -> Version:
        """The version that is served.

        Args:
          number: that is asked for, if any.

        Raises:
          Refusal: it is another; 404.
        """
        version = self.version
        if number not in (None, version.number):
            raise self.absent(number)
        return version

    def check_label(self, label: str) -> None:
        """Refuses a label that the version that is served does not have.

        Raises:
          Refusal: it is another; 404.
        """
        if label != LATEST:
            raise Refusal(
                404,
                f"Version label must be one that is there: {LATEST}, version "
                f"{self.version.number}. Received: {label[:40]!r}.",
            )

    def absent(self, number: int) -> Refusal:
        """The refusal of a version that is not there."""
        return Refusal(
            404,
            f"Version must be the one that is served, {self.version.number}, or be "
            f"left out. Received: {number}.",
        )

    def _highest(self) -> int | None:
        numbers = (
            int(path.parent.name)
            for path in self._folder.glob(f"*/{FILE}")
            if path.parent.name.isdecimal()
        )
        return max((k for k in numbers if k not in self.failed), default=None)

    def _load(self, number: int) -> Version:
        version = Version(self._folder / str(number))
        _check_kind(version)
        version.warm_up(self._warm)
        return version


def _check_kind(version: Version) -> None:
    default = version.signatures.get(protocol.DEFAULT)
    fits = default and default.takes_files and default.outputs.issuperset(_OUTPUTS)
    if not fits or "probabilities" not in version.signatures:
        raise ValueError(
            f"it must have signatures {protocol.DEFAULT}, of {FILES} to "
            f"{', '.join(_OUTPUTS)}, and probabilities"
        )


def _dtype(spec: tf.TensorSpec) -> np.dtype:
    return np.dtype(object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype)


def _in_batches(function) -> bool:
    specs = [
        *function.structured_input_signature[1].values(),
        *function.structured_outputs.values(),
    ]
    return all(spec.shape.rank and spec.shape[0] is None for spec in specs)


def _metadata(folder: Path) -> dict:
    saved = saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    return {
        name: json_format.MessageToDict(
            definition,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name, definition in definitions.items()
        if not name.startswith("__")
    }


def _state(number: int, *, loaded: bool) -> dict:
    fault = {"error_code": "UNKNOWN", "error_message": "It cannot be loaded."}
    fine = {"error_code": "OK", "error_message": ""}
    return {
        "version": str(number),
        "state": "AVAILABLE" if loaded else "END",
        "status": fine if loaded else fault,
    }
