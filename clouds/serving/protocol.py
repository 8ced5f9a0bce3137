"""TensorFlow Serving's JSON: requests to tensors, tensors to answers, refusals.

A request holds its values by row, `{"instances": […]}`, or by column,
`{"inputs": …}`, and `signature_name` if not `serving_default`. Bytes are
`{"b64": "…"}`. Rows are answered with `{"predictions": […]}`, one for each, and
columns with `{"outputs": …}`; where a signature has one output its name is left
out. Outputs whose names end in `_bytes` come as `{"b64": "…"}`, other strings as
text. What goes wrong is `{"error": "…"}`, with the status that fits.

One thing more than there: where some rows of a request are bad, the others are
answered, and `{"error": "…", "code": 400}` stands in place of the bad ones.
"""

import base64
import binascii
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

DEFAULT = "serving_default"

# Requests are large, and their answers are not to repeat them.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 3


class Refusal(Exception):
    """Why a request, or one image of it, is not answered as asked.

    Attributes:
      status: of HTTP.
      reason: one sentence or more; names nothing of the host.
      retry_after: seconds after which it may succeed, if it may.
    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True)
class Spec:
    """What an input must be.

    Attributes:
      dtype: of its values; `object` stands for strings, as bytes.
      shape: its sides, None where any will do.
    """

    dtype: np.dtype
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{_named(self.dtype)}[{sides}]"


@dataclass(frozen=True)
class Query:
    """What is asked of a model.

    Attributes:
      signature: its name.
      by_row: how the answer is to be written.
      inputs: by name.
    """

    signature: str
    by_row: bool
    inputs: dict[str, np.ndarray]


def parse(body: bytes, signatures: Mapping[str, Mapping[str, Spec]]) -> Query:
    """Reads a request.

    Args:
      body: of it.
      signatures: the inputs of each.

    Returns:
      The query, each input of its signature's dtype and shape.

    Raises:
      Refusal: it is no such request; 400.
    """
    request = _object(body)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _bad("signature_name must be text", name)
    name = name or DEFAULT
    if name not in signatures:
        known = ", ".join(signatures)
        raise _bad(f"Serving signature name must be one of {known}", name)
    wanted = signatures[name]
    forms = [form for form in ("instances", "inputs") if form in request]
    if len(forms) != 1:
        raise _bad("A request must have either 'instances' or 'inputs'", forms)
    by_row = forms == ["instances"]
    gather = _of_rows if by_row else _of_columns
    values = gather(request[forms[0]], wanted)
    return Query(
        name,
        by_row,
        {each: _tensor(values[each], spec, each) for each, spec in wanted.items()},
    )


def answer(
    rows: Sequence[Mapping[str, np.ndarray] | Refusal],
    *,
    by_row: bool,
    strict: bool = False,
) -> bytes:
    """Writes an answer.

    Args:
      rows: the outputs for each row, without the batch's dimension, or why there are
        none.
      by_row: as it was asked.
      strict: whether one bad row refuses all.

    Returns:
      JSON.

    Raises:
      Refusal: all rows are bad, or one is, and it is strict or not by row.
    """
    bad = [k for k, row in enumerate(rows) if isinstance(row, Refusal)]
    if bad and (strict or not by_row or len(bad) == len(rows)):
        first = rows[bad[0]]
        of_several = f"Row {bad[0]}: " if len(rows) > 1 else ""
        raise Refusal(first.status, f"{of_several}{first.reason}", first.retry_after)
    if by_row:
        return dump({"predictions": [_row(row) for row in rows]})
    columns = {
        name: _values(np.stack([row[name] for row in rows]), name) for name in rows[0]
    }
    return dump({"outputs": _bare(columns)})


def error(refusal: Refusal) -> bytes:
    """Writes a refusal as JSON."""
    return dump({"error": refusal.reason})


def described(outputs: Mapping[str, np.ndarray]) -> dict:
    """Brings outputs to what JSON can hold."""
    return {name: _values(value, name) for name, value in outputs.items()}


def take(tensor: np.ndarray, number: int) -> np.ndarray:
    """One row of a tensor; of strings too, which NumPy would make its own kind of."""
    return tensor[number : number + 1].reshape(tensor.shape[1:])


def dump(value) -> bytes:
    """Writes JSON, of arrays too."""
    # Numbers with a dtype are written as short as they come back the same.
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _object(body: bytes) -> dict:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise _bad(f"A request's body must be JSON ({fault})", body) from None
    if not isinstance(request, dict):
        raise _bad("A request's body must be a JSON object", request)
    return request


def _of_rows(rows, wanted: Mapping[str, Spec]) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise _bad("'instances' must be a list of one row or more", rows)
    if not _is_named(rows[0]):
        return {_only(wanted): rows}
    for number, row in enumerate(rows):
        if not _is_named(row) or row.keys() != wanted.keys():
            names = ", ".join(wanted)
            raise _bad(f"Row {number} of 'instances' must have the keys {names}", row)
    return {name: [row[name] for row in rows] for name in wanted}


def _of_columns(columns, wanted: Mapping[str, Spec]) -> dict:
    if not _is_named(columns):
        return {_only(wanted): columns}
    if missing := [name for name in wanted if name not in columns]:
        raise _bad(f"'inputs' must have {', '.join(missing)}", list(columns))
    return columns


def _only(wanted: Mapping[str, Spec]) -> str:
    if len(wanted) > 1:
        raise Refusal(400, f"Inputs must be named: {', '.join(wanted)}.")
    return next(iter(wanted))


def _is_named(value) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _tensor(values, spec: Spec, name: str) -> np.ndarray:
    if spec.dtype.kind == "O":
        if not isinstance(values, list):
            raise _bad(f"{name} must be {spec}", values)
        tensor = np.empty(len(values), object)
        tensor[:] = [_text(value, f"{name} {k}") for k, value in enumerate(values)]
    else:
        tensor = _numbers(values, spec, name)
    sides = zip(tensor.shape, spec.shape, strict=False)
    fits = len(tensor.shape) == len(spec.shape)
    if not fits or any(known not in (None, side) for side, known in sides):
        raise _bad(f"{name} must be {spec}", _Word(f"shape {list(tensor.shape)}"))
    if not tensor.size:
        raise _bad(f"{name} must not be empty", _Word(f"shape {list(tensor.shape)}"))
    return tensor


def _text(value, where: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict) or not isinstance(value.get("b64"), str):
        raise _bad(f"{where} must be {{'b64': text}}, or text", value)
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as fault:
        raise _bad(f"{where} must be in base64 ({fault})", value["b64"]) from None


def _numbers(values, spec: Spec, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(values)
    except ValueError:
        raise _bad(f"{name} must be {spec}, of lists of one length", values) from None
    kinds = {"f": "iuf", "b": "b"}.get(spec.dtype.kind, "iu")
    if numbers.size and numbers.dtype.kind not in kinds:
        known = numbers.dtype.kind in "biuf"
        received = numbers.dtype.name if known else "other values"
        raise _bad(f"{name} must be {spec}", _Word(received))
    if spec.dtype.kind in "iu" and numbers.size:
        limits = np.iinfo(spec.dtype)
        if numbers.min() < limits.min or numbers.max() > limits.max:
            raise _bad(
                f"{name} must be {spec}, from {limits.min} to {limits.max}",
                [numbers.min().item(), numbers.max().item()],
            )
    with np.errstate(over="ignore"):
        return numbers.astype(spec.dtype)


def _row(row: Mapping[str, np.ndarray] | Refusal):
    if isinstance(row, Refusal):
        return {"error": row.reason, "code": row.status}
    return _bare(described(row))


def _bare(named: dict):
    return next(iter(named.values())) if len(named) == 1 else named


def _values(values: np.ndarray, name: str):
    """Nested lists, an array of numbers, or a number."""
    if values.dtype.kind != "O":
        return np.ascontiguousarray(values) if values.ndim else values[()]
    if values.ndim:
        return [_values(take(values, k), name) for k in range(len(values))]
    text = values.item()
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(text).decode()}
    return text.decode(errors="replace")


class _Word(str):
    """Text that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _named(dtype: np.dtype) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def _bad(expected: str, received) -> Refusal:
    return Refusal(400, f"{expected}. Received: {_SHORT.repr(received)}.")
