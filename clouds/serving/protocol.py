"""TensorFlow Serving's JSON: requests to tensors, tensors to responses, errors.

A request holds its values by row, `{"instances": […]}`, or by column,
`{"inputs": …}`, and `signature_name` unless it is `serving_default`. Bytes are
`{"b64": "…"}`. Rows are answered with `{"predictions": […]}`, one per row, and columns
with `{"outputs": …}`; a single output has no name. Outputs whose names end in `_bytes`
are `{"b64": "…"}`, other strings are text. Errors are `{"error": "…"}`.

Unlike in TensorFlow Serving, a bad row does not fail the others: its prediction is
`{"error": "…", "code": 400}`.
"""

import base64
import binascii
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import numpy as np
import orjson
from starlette.responses import Response

DEFAULT = "serving_default"

Row = dict[str, np.ndarray]
"""The inputs or outputs of a signature for one image, by name."""

# Requests are large, and errors quote them.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 3


class Refusal(Exception):
    """The reason why a request, or one image of it, is not answered.

    Attributes:
      status: HTTP status.
      reason: one or more sentences; they name nothing of the host.
      retry_after: seconds after which it may succeed, or None.
    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True)
class Spec:
    """The type of an input.

    Attributes:
      dtype: type of its values; `object` stands for strings, as bytes.
      shape: its sizes, None for any.
    """

    dtype: np.dtype
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        kind = "string" if self.dtype.kind == "O" else self.dtype.name
        return f"{kind}[{sizes}]"


class Query(NamedTuple):
    """A request to a model.

    Attributes:
      signature: name of the signature.
      by_row: whether the response is written by row.
      rows: inputs of each row, without the batch dimension.
    """

    signature: str
    by_row: bool
    rows: list[Row]


def parse(body: bytes, signatures: Mapping[str, Mapping[str, Spec]]) -> Query:
    """Reads a request.

    Args:
      body: body of the request.
      signatures: inputs of each signature.

    Returns:
      The query; its rows have the dtypes and shapes of the signature.

    Raises:
      Refusal: the request is invalid; 400.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"A request's body must be JSON ({error})", body) from None
    if not isinstance(request, dict):
        raise _bad("A request's body must be a JSON object", request)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _bad("signature_name must be text", name)
    name = name or DEFAULT
    if name not in signatures:
        names = ", ".join(signatures)
        raise _bad(f"Serving signature name must be one of {names}", name)
    specs = signatures[name]
    forms = [form for form in ("instances", "inputs") if form in request]
    if len(forms) != 1:
        raise _bad("A request must have either 'instances' or 'inputs'", forms)
    by_row = forms == ["instances"]
    gather = _gather_rows if by_row else _gather_columns
    values = gather(request[forms[0]], specs)
    tensors = {key: _tensor(values[key], spec, key) for key, spec in specs.items()}
    return Query(name, by_row, split(tensors))


def answer(rows: Sequence[Row | Refusal], by_row: bool) -> bytes:
    """Writes a response.

    Args:
      rows: outputs of each row, without the batch dimension, or why there are none.
      by_row: `Query.by_row` of the request.

    Returns:
      JSON.

    Raises:
      Refusal: all rows are bad, or one is and the response is by column.
    """
    bad = [k for k, row in enumerate(rows) if isinstance(row, Refusal)]
    if bad and (not by_row or len(bad) == len(rows)):
        first = rows[bad[0]]
        place = f"Row {bad[0]}: " if len(rows) > 1 else ""
        raise Refusal(first.status, f"{place}{first.reason}", first.retry_after)
    if by_row:
        return dump({"predictions": [_row(row) for row in rows]})
    columns = {
        name: _values(np.stack([row[name] for row in rows]), name) for name in rows[0]
    }
    return dump({"outputs": _unnamed(columns)})


def refused(refusal: Refusal) -> Response:
    """Returns the response for a request that is not answered."""
    text = dump({"error": refusal.reason})
    response = Response(text, refusal.status, media_type="application/json")
    if refusal.retry_after is not None:
        response.headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == HTTPStatus.REQUEST_TIMEOUT:
        response.headers["connection"] = "close"
    return response


def serializable(outputs: Row) -> dict:
    """Converts outputs to values that `dump` can write."""
    return {name: _values(value, name) for name, value in outputs.items()}


def split(batch: Mapping[str, np.ndarray]) -> list[Row]:
    """Splits tensors into rows, as many as the shortest tensor has."""
    count = min(map(len, batch.values()))
    return [
        {name: _take(value, k) for name, value in batch.items()} for k in range(count)
    ]


def dump(value) -> bytes:
    """Writes JSON; arrays become lists."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _take(tensor: np.ndarray, row: int) -> np.ndarray:
    # tensor[row] of strings would be no array.
    return tensor[row : row + 1].reshape(tensor.shape[1:])


def _gather_rows(rows, specs: Mapping[str, Spec]) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise _bad("'instances' must be a list of one row or more", rows)
    if not _is_named(rows[0]):
        return {_only(specs): rows}
    for number, row in enumerate(rows):
        if not _is_named(row) or row.keys() != specs.keys():
            names = ", ".join(specs)
            raise _bad(f"Row {number} of 'instances' must have the keys {names}", row)
    return {name: [row[name] for row in rows] for name in specs}


def _gather_columns(columns, specs: Mapping[str, Spec]) -> dict:
    if not _is_named(columns):
        return {_only(specs): columns}
    if missing := [name for name in specs if name not in columns]:
        raise _bad(f"'inputs' must have {', '.join(missing)}", list(columns))
    return columns


def _only(specs: Mapping[str, Spec]) -> str:
    if len(specs) > 1:
        raise Refusal(400, f"Inputs must be named: {', '.join(specs)}.")
    return next(iter(specs))


def _is_named(value) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _tensor(values, spec: Spec, name: str) -> np.ndarray:
    if spec.dtype.kind == "O":
        if not isinstance(values, list):
            raise _bad(f"{name} must be {spec}", values)
        tensor = np.empty(len(values), object)
        tensor[:] = [_bytes(value, f"{name} {k}") for k, value in enumerate(values)]
    else:
        tensor = _numbers(values, spec, name)
    pairs = zip(tensor.shape, spec.shape, strict=False)
    fits = tensor.ndim == len(spec.shape) and all(b in (None, a) for a, b in pairs)
    if not fits or not tensor.size:
        expected = f"be {spec}" if not fits else "not be empty"
        shape = list(tensor.shape)
        raise Refusal(400, f"{name} must {expected}. Received: shape {shape}.")
    return tensor


def _bytes(value, place: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict) or not isinstance(value.get("b64"), str):
        raise _bad(f"{place} must be {{'b64': text}}, or text", value)
    # TensorFlow Serving skips blanks, and padding is optional.
    text = "".join(value["b64"].split()).rstrip("=")
    if {"-", "_"} & set(text):
        raise _bad(f"{place} must be base64 with + and /, not web-safe", value["b64"])
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"{place} must be base64 ({error})", value["b64"]) from None


def _numbers(values, spec: Spec, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(values)
    except ValueError:
        raise _bad(f"{name} must be {spec}, of lists of one length", values) from None
    kinds = {"f": "iuf", "b": "b"}.get(spec.dtype.kind, "iu")
    if numbers.size and numbers.dtype.kind not in kinds:
        numeric = numbers.dtype.kind in "biuf"
        received = numbers.dtype.name if numeric else "other values"
        raise Refusal(400, f"{name} must be {spec}. Received: {received}.")
    if spec.dtype.kind in "iu" and numbers.size:
        bounds = np.iinfo(spec.dtype)
        low, high = numbers.min().item(), numbers.max().item()
        if low < bounds.min or high > bounds.max:
            expected = f"{name} must be {spec}, from {bounds.min} to {bounds.max}"
            raise _bad(expected, [low, high])
    with np.errstate(over="ignore"):
        return numbers.astype(spec.dtype)


def _row(row: Row | Refusal):
    if isinstance(row, Refusal):
        return {"error": row.reason, "code": row.status}
    return _unnamed(serializable(row))


def _unnamed(named: dict):
    return next(iter(named.values())) if len(named) == 1 else named


def _values(values: np.ndarray, name: str):
    """Returns nested lists, an array of numbers, or a number."""
    if values.dtype.kind != "O":
        return np.ascontiguousarray(values) if values.ndim else values[()]
    if values.ndim:
        return [_values(_take(values, k), name) for k in range(len(values))]
    text = values.item()
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(text).decode()}
    return text.decode(errors="replace")


def _bad(expected: str, received) -> Refusal:
    return Refusal(400, f"{expected}. Received: {_SHORT.repr(received)}.")
