"""TensorFlow's C++ SavedModel loader, which TensorFlow Serving uses, by ctypes.

It loads the libraries of the installed wheel without importing `tensorflow`.
"""

import ctypes
import importlib.util
import pickle
import sys
from collections.abc import Callable, Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

_DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8}
_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}
_STRING, _STRING_SIZE = 7, 24
_SIGNATURES, _INPUTS, _OUTPUTS = 5, 1, 2


class RefusedError(Exception):
    """An error of the loader or a session, with TensorFlow's code."""

    def __init__(self, code: int, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("length", c_size_t), ("free", c_void_p))


class Model:
    """A SavedModel in a session of its own."""

    def __init__(self, folder: Path):
        """Loads it like TensorFlow Serving."""
        self._library = _library()
        self._status = c_void_p(self._library.TF_NewStatus())
        self._graph = c_void_p(self._library.TF_NewGraph())
        options = c_void_p(self._library.TF_NewSessionOptions())
        meta_graph = _Buffer()
        tags = (c_char_p * 1)(b"serve")
        self._session = c_void_p(
            self._library.TF_LoadSessionFromSavedModel(
                options,
                None,
                str(folder).encode(),
                tags,
                1,
                self._graph,
                byref(meta_graph),
                self._status,
            )
        )
        self._check()
        contents = ctypes.string_at(meta_graph.data, meta_graph.length)
        self.signatures = _signatures(contents)

    def __call__(self, signature: str, *batches: np.ndarray) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
          signature: name of the signature.
          batches: inputs in the order of their names; strings as object arrays of
            bytes.

        Returns:
          The outputs by name; strings as bytes objects.
        """
        return self.request(signature, *batches)()

    def request(self, signature: str, *batches: np.ndarray) -> Callable[[], dict]:
        """Prepares a request; returns a function that answers it, repeatedly."""
        inputs, outputs = (dict(sorted(x.items())) for x in self.signatures[signature])
        given = (c_void_p * len(inputs))(*map(self._tensor, batches))
        sources = (_Output * len(inputs))(*map(self._place, inputs.values()))
        results = (_Output * len(outputs))(*map(self._place, outputs.values()))

        def answer() -> dict[str, np.ndarray]:
            made = (c_void_p * len(outputs))()
            self._library.TF_SessionRun(
                *(self._session, None),
                *(sources, given, len(inputs)),
                *(results, made, len(outputs)),
                *(None, 0, None, self._status),
            )
            self._check()
            return {
                name: self._array(c_void_p(tensor))
                for name, tensor in zip(outputs, made, strict=True)
            }

        return answer

    def _check(self) -> None:
        code = self._library.TF_GetCode(self._status)
        if code:
            raise RefusedError(code, self._library.TF_Message(self._status).decode())

    def _place(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        found = self._library.TF_GraphOperationByName(self._graph, operation.encode())
        return _Output(found, int(index))

    def _tensor(self, batch: np.ndarray) -> int:
        shape = (c_int64 * batch.ndim)(*batch.shape)
        text = batch.dtype == object
        number = _STRING if text else _NUMBERS[batch.dtype]
        size = _STRING_SIZE * batch.size if text else batch.nbytes
        tensor = self._library.TF_AllocateTensor(number, shape, batch.ndim, size)
        data = self._library.TF_TensorData(c_void_p(tensor))
        if not text:
            ctypes.memmove(data, batch.tobytes(), size)
            return tensor
        for index, contents in enumerate(batch.reshape(-1)):
            place = c_void_p(data + index * _STRING_SIZE)
            self._library.TF_StringInit(place)
            self._library.TF_StringCopy(place, contents, len(contents))
        return tensor

    def _array(self, tensor: c_void_p) -> np.ndarray:
        rank = self._library.TF_NumDims(tensor)
        shape = [self._library.TF_Dim(tensor, axis) for axis in range(rank)]
        number = self._library.TF_TensorType(tensor)
        data = self._library.TF_TensorData(tensor)
        if number == _STRING:
            places = (c_void_p(data + k * _STRING_SIZE) for k in range(np.prod(shape)))
            array = np.array([self._text(place) for place in places], object)
        else:
            size = self._library.TF_TensorByteSize(tensor)
            contents = ctypes.string_at(data, size) if size else b""
            array = np.frombuffer(contents, _DTYPES[number])
        self._library.TF_DeleteTensor(tensor)
        return array.reshape(shape)

    def _text(self, place: c_void_p) -> bytes:
        start = self._library.TF_StringGetDataPointer(place)
        return ctypes.string_at(start, self._library.TF_StringGetSize(place))


def batch_of(contents: list[bytes]) -> np.ndarray:
    """Returns files as object[B]."""
    batch = np.empty(len(contents), object)
    batch[:] = contents
    return batch


def _library() -> ctypes.CDLL:
    folder = Path(importlib.util.find_spec("tensorflow").origin).parent
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"))
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for name in (
        *("TF_NewStatus", "TF_NewSessionOptions", "TF_NewGraph", "TF_TensorData"),
        *("TF_LoadSessionFromSavedModel", "TF_AllocateTensor"),
        *("TF_GraphOperationByName", "TF_StringGetDataPointer"),
    ):
        getattr(library, name).restype = c_void_p
    for name in ("TF_StringGetSize", "TF_TensorByteSize"):
        getattr(library, name).restype = c_size_t
    library.TF_AllocateTensor.argtypes = [c_int, POINTER(c_int64), c_int, c_size_t]
    library.TF_StringCopy.argtypes = [c_void_p, c_char_p, c_size_t]
    library.TF_Message.restype = c_char_p
    library.TF_Dim.restype = c_int64
    return library


def _signatures(meta_graph: bytes) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Returns the tensor names of each signature's inputs and outputs, by name."""
    found = {}
    for number, entry in _fields(meta_graph):
        if number != _SIGNATURES:
            continue
        name, signature = (value for _, value in _fields(entry))
        sides = {_INPUTS: {}, _OUTPUTS: {}}
        for side, tensor in _fields(signature):
            if side in sides:
                (_, key), (_, info) = _fields(tensor)
                sides[side][key.decode()] = dict(_fields(info))[1].decode()
        found[name.decode()] = sides[_INPUTS], sides[_OUTPUTS]
    return found


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields the fields of a serialized protocol buffer, with their numbers."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        length = {1: 8, 5: 4}.get(kind) or number()
        yield key >> 3, message[at : at + length]
        at += length


def main() -> None:
    """Answers a pickled list of requests: loader.py EXPORT IN OUT.

    A request is the name of a signature and a batch; an answer is the outputs of
    `Model`, or TensorFlow's error code.
    """
    folder, source, target = sys.argv[1:]
    model = Model(Path(folder))
    answers = []
    for signature, batch in pickle.loads(Path(source).read_bytes()):
        try:
            answers.append(model(signature, batch))
        except RefusedError as error:
            answers.append(error.code)
    if {"tensorflow", "keras"} & set(sys.modules):
        raise SystemExit("Something imported TensorFlow.")
    Path(target).write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    main()
