import base64
import json

import numpy as np
import pytest

from clouds.serving import protocol
from clouds.serving.protocol import Refusal, Spec

STRINGS = {"image_bytes": Spec(np.dtype(object), (None,))}
PIXELS = {"images": Spec(np.dtype(np.uint8), (None, None, None, 3))}
TWO = {
    "a": Spec(np.dtype(np.float32), (None,)),
    "b": Spec(np.dtype(object), (None,)),
}
SIGNATURES = {"serving_default": STRINGS, "images": PIXELS, "two": TWO}


def b64(contents):
    return {"b64": base64.b64encode(contents).decode()}


def parse(request):
    return protocol.parse(json.dumps(request).encode(), SIGNATURES)


def refused(body, *parts):
    with pytest.raises(Refusal) as fault:
        protocol.parse(
            body if isinstance(body, bytes) else json.dumps(body).encode(), SIGNATURES
        )
    assert fault.value.status == 400
    for part in parts:
        assert part in fault.value.reason
    assert len(fault.value.reason) < 400


@pytest.mark.parametrize(
    "request_",
    [
        {"instances": [b64(b"a\0"), b64(b"")]},
        {"instances": [{"image_bytes": b64(b"a\0")}, {"image_bytes": b64(b"")}]},
        {"inputs": [b64(b"a\0"), b64(b"")]},
        {"inputs": {"image_bytes": [b64(b"a\0"), b64(b"")]}},
        {"signature_name": "serving_default", "inputs": [b64(b"a\0"), ""], "more": 1},
    ],
)
def test_each_form_of_a_request_gives_the_same_bytes(request_):
    query = parse(request_)
    assert query.signature == "serving_default"
    assert query.by_row == ("instances" in request_)
    assert [row["image_bytes"].item() for row in query.rows] == [b"a\0", b""]


def test_numbers_get_the_dtype_and_shape_of_the_signature():
    image = [[[0, 1, 255]] * 2] * 4
    query = parse({"signature_name": "images", "instances": [image]})
    (row,) = query.rows
    assert (row["images"].shape, row["images"].dtype) == ((4, 2, 3), np.uint8)
    named = {"signature_name": "two", "instances": [{"a": 1, "b": "é"}]}
    (row,) = parse(named).rows
    assert row["a"].dtype == np.float32
    assert row["b"].item() == "é".encode()
    columns = {"a": [0.5, 1e300], "b": ["", "x"]}
    rows = parse({"signature_name": "two", "inputs": columns}).rows
    assert np.isinf(rows[1]["a"]) and rows[1]["b"].item() == b"x"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "must be JSON"),
        (b"\xff\xfe{}", "must be JSON"),
        (b'{"instances": [' + b"[" * 100_000, "must be JSON"),
        (b"[]", "JSON object"),
        ({}, "either 'instances' or 'inputs'"),
        ({"instances": [""], "inputs": [""]}, "either"),
        ({"instances": []}, "one row or more"),
        ({"inputs": []}, "must not be empty"),
        ({"instances": "x" * 10_000}, "list"),
        ({"instances": [""], "signature_name": 5}, "must be text"),
        ({"instances": [""], "signature_name": "no"}, "serving_default, images, two"),
        ({"instances": [5]}, "image_bytes 0 must be"),
        ({"instances": ["", None]}, "image_bytes 1 must be"),
        ({"instances": [{"b64": "*" * 10_000}]}, "must be base64"),
        ({"instances": [{"b64": 5}]}, "must be {'b64': text}"),
        ({"instances": [{"other": ""}]}, "keys image_bytes"),
        ({"instances": [{"image_bytes": ""}, ""]}, "Row 1"),
        ({"instances": ["", {"image_bytes": ""}]}, "image_bytes 1"),
        ({"inputs": {"other": [""]}}, "must have image_bytes"),
        ({"inputs": ""}, "string[?]"),
        ({"inputs": [[""]]}, "image_bytes 0"),
    ],
)
def test_an_invalid_request_is_refused_with_a_short_reason(body, part):
    refused(body, part)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([[[[0, 0, 256]]]], "from 0 to 255"),
        ([[[[0, 0, -1]]]], "from 0 to 255"),
        ([[[[0, 0, 0.5]]]], "uint8[?, ?, ?, 3]. Received: float64."),
        ([[[[0, 0, "1"]]]], "Received: other values"),
        ([[[[0, 0, None]]]], "uint8"),
        ([[[[True, False, True]]]], "Received: bool"),
        ([[[[0, 0]]]], "shape [1, 1, 1, 2]"),
        ([[[0, 0, 0]]], "shape [1, 1, 3]"),
        ([[[[0, 0, 0], [0, 0]]]], "one length"),
        ([[], []], "must be"),
        ([[[[2**70, 0, 0]]]], "uint8"),
        ([b64(b"x")], "uint8"),
    ],
)
def test_numbers_of_a_wrong_dtype_range_or_shape_are_refused(values, part):
    refused({"signature_name": "images", "instances": values}, part)


def test_several_inputs_must_be_named():
    refused({"signature_name": "two", "inputs": [1]}, "named: a, b")
    refused({"signature_name": "two", "instances": [1]}, "named: a, b")


def outputs(text="1 2"):
    return {
        "rle": np.array([text.encode(), b""], object),
        "score": np.array([0.2, 1], np.float32),
        "count": np.array(3),
        "mask_bytes": np.array([b"\x00\xff"], object),
    }


def test_responses_are_by_row_or_by_column():
    row = {"rle": ["1 2", ""], "score": [0.2, 1.0], "count": 3}
    row["mask_bytes"] = [{"b64": "AP8="}]
    by_row = json.loads(protocol.answer([outputs(), outputs()], by_row=True))
    assert by_row == {"predictions": [row, row]}
    by_column = json.loads(protocol.answer([outputs(), outputs()], by_row=False))
    assert by_column == {"outputs": {name: [value] * 2 for name, value in row.items()}}


def test_a_single_output_has_no_name():
    only = {"rle": np.array([b"1 2"], object)}
    assert protocol.answer([only], by_row=True) == b'{"predictions":[["1 2"]]}'
    assert protocol.answer([only], by_row=False) == b'{"outputs":[["1 2"]]}'


def test_a_bad_row_has_its_error_among_the_others():
    bad = Refusal(400, "No image.")
    answered = json.loads(protocol.answer([outputs(), bad], by_row=True))
    assert answered["predictions"][0]["rle"] == ["1 2", ""]
    assert answered["predictions"][1] == {"error": "No image.", "code": 400}


@pytest.mark.parametrize(
    ("rows", "by_row", "number"),
    [
        ([outputs(), Refusal(400, "No image.")], False, 1),
        ([Refusal(400, "No image.")] * 2, True, 0),
    ],
)
def test_a_bad_column_or_only_bad_rows_refuse_the_request(rows, by_row, number):
    with pytest.raises(Refusal, match=f"Row {number}: No image") as fault:
        protocol.answer(rows, by_row=by_row)
    assert fault.value.status == 400
    assert json.loads(protocol.refused(fault.value).body) == {
        "error": fault.value.reason
    }


@pytest.mark.parametrize(
    "text", ["YWJj\nZA==", "YWJjZA", " YWJj ZA== ", "YWJjZA==\r\n"]
)
def test_base64_may_have_blanks_and_lack_its_padding(text):
    query = protocol.parse(
        json.dumps({"instances": [{"b64": text}]}).encode(), SIGNATURES
    )
    assert query.rows[0]["image_bytes"].item() == b"abcd"


def test_web_safe_base64_is_named():
    with pytest.raises(protocol.Refusal, match="not web-safe"):
        body = json.dumps({"instances": [{"b64": "_-8="}]}).encode()
        protocol.parse(body, SIGNATURES)
