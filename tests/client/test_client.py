import contextlib
import json
import time

import pytest
import tensorflow as tf
from helpers import grpc_server, tiny_export
from helpers.scripted_server import scripted

from clouds.client import client
from clouds.client.answers import Answer
from clouds.client.retry import Busy, Lost, Rejected
from clouds.config.serving import Request
from clouds.errors import InputError

GOOD = tiny_export.encoded()
GONE = "127.0.0.1:9"


@pytest.fixture
def connect():
    """Makes clients, and closes them after the test."""
    with contextlib.ExitStack() as stack:

        def make(server, *, grpc=False, name="clouds", version=None):
            flags = {"grpc": grpc, "name": name, "model_version": version}
            settings = Request(images=("x",), out="x", server=server, **flags)
            return stack.enter_context(contextlib.closing(client.connect(settings)))

        yield make


def test_a_server_answers_by_rest(server, connect):
    asked = connect(server)
    asked.check(10)
    one, two = asked.ask([GOOD, tiny_export.encoded(".png")], 10)
    assert isinstance(one, Answer)
    assert len(one.rle) == len(two.scores) == 4
    assert one.rle[0].startswith("15")
    assert one.scores[0] == pytest.approx(0.91, abs=0.01)
    (same,) = connect(server, version=1).ask([GOOD], 10)
    assert same == one


def test_each_bad_image_has_a_reason_and_other_models_are_not_found(server, connect):
    good, bad = connect(server).ask([GOOD, GOOD[:700]], 10)
    assert isinstance(good, Answer)
    assert "cannot be decoded" in str(bad)
    with pytest.raises(Rejected, match="no model has this name"):
        connect(server, name="other").check(10)
    with pytest.raises(Lost, match="no longer served .Version must be"):
        connect(server, version=7).ask([GOOD], 10)


def test_a_server_that_is_no_model_server_is_rejected(connect):
    with (
        scripted((200, {}, b"<html>"), (200, {}, b"{}")) as (address, _),
    ):
        for _ in range(2):
            with pytest.raises(Rejected, match="like a model server"):
                connect(address).check(10)


@pytest.mark.parametrize("grpc", [False, True])
def test_a_missing_version_is_reported_with_the_existing_ones(
    grpc, server, tiny_grpc_server, connect
):
    address = tiny_grpc_server[0] if grpc else server
    connect(address, grpc=grpc, version=1).check(10)
    expected = "--model-version must be one that the server has: 1. Received: 7"
    with pytest.raises(InputError, match=expected):
        connect(address, grpc=grpc, version=7).check(10)


def test_only_available_versions_count(connect):
    states = [
        {"version": "3", "state": "END"},
        {"version": "2", "state": "AVAILABLE"},
    ]
    body = json.dumps({"model_version_status": states}).encode()
    with (
        scripted((200, {}, body)) as (address, seen),
        pytest.raises(InputError, match="has: 2. Received: 3"),
    ):
        connect(address, version=3).check(10)
    assert seen[0][0] == "/v1/models/clouds"


def test_the_client_keeps_to_the_version_that_was_the_latest_first(connect):
    states = [{"version": str(k), "state": "AVAILABLE"} for k in (3, 12, 4)]
    body = json.dumps({"model_version_status": states}).encode()
    gone = (404, {}, b'{"error": "no version 12"}')
    with scripted((200, {}, body), gone) as (address, seen):
        asked = connect(address)
        assert asked.check(10) == 12
        with pytest.raises(Lost, match="no longer served .no version 12"):
            asked.ask([GOOD], 10)
    assert seen[1][0] == "/v1/models/clouds/versions/12:predict"


def test_a_model_without_a_version_may_have_one_later(connect):
    body = json.dumps({"model_version_status": []}).encode()
    with scripted((200, {}, body)) as (address, _), pytest.raises(Busy, match="no ver"):
        connect(address).check(10)


def test_errors_are_split_into_those_that_may_succeed_later_and_others(connect):
    answers = [
        (429, {"retry-after": 7}, b'{"error": "too many"}'),
        (503, {}, b"no JSON"),
        (404, {}, b'{"error": "none"}'),
        (413, {}, b"[]"),
        (200, {}, b"{}"),
    ]
    with scripted(*answers) as (address, _):
        asked = connect(address)
        with pytest.raises(Busy, match="too many") as busy:
            asked.ask([GOOD], 10)
        assert busy.value.wait == 7
        with pytest.raises(Busy, match="answered 503"):
            asked.ask([GOOD], 10)
        with pytest.raises(Lost, match="none"):
            asked.ask([GOOD], 10)
        with pytest.raises(Rejected, match="answered 413"):
            asked.ask([GOOD], 10)
        with pytest.raises(InputError, match="'rle', 'score' and 'label' of each"):
            asked.ask([GOOD], 10)


def test_the_timeout_is_for_the_entire_answer(connect):
    sent = []

    def trickled():
        while len(sent) < 100:
            sent.append(b" ")
            yield sent[-1]
            time.sleep(0.05)

    with (
        scripted((200, {"content-length": 100}, trickled())) as (address, _),
        pytest.raises(Busy, match="no answer within"),
    ):
        connect(address).ask([GOOD], 0.2)
    assert len(sent) < 100


@pytest.mark.parametrize(
    "predictions",
    [
        [],
        [{"rle": ["", "", ""], "score": [0, 0, 0]}],
        [{"rle": [""] * 4, "score": ["x"] * 4}],
        [[0.5]],
    ],
)
def test_answers_of_another_model_are_an_error(predictions, connect):
    body = json.dumps({"predictions": predictions}).encode()
    with (
        scripted((200, {}, body)) as (address, _),
        pytest.raises(InputError, match="Check --server and --name"),
    ):
        connect(address).ask([GOOD], 10)


def test_an_unreachable_server_is_lost(connect):
    with pytest.raises(Lost):
        connect(GONE).check(5)
    with pytest.raises(Lost):
        connect(GONE, grpc=True).check(0.5)
    with pytest.raises(Lost):
        connect(GONE, grpc=True).ask([GOOD], 5)


@pytest.mark.parametrize(
    ("address", "grpc", "example"),
    [
        ("ftp://host", False, "localhost:8501"),
        ("http://host:8500", True, "localhost:8500"),
        ("http://host", True, "localhost:8500"),
        ("localhost", False, "localhost:8501"),
        ("localhost", True, "localhost:8500"),
        ("localhost:", False, "localhost:8501"),
        ("localhost:http", False, "localhost:8501"),
        ("[::1]", True, "localhost:8500"),
    ],
)
def test_an_address_of_another_kind_or_without_a_port_is_rejected(
    address, grpc, example, connect
):
    with pytest.raises(InputError, match=f"ADDRESS:PORT, such as {example},"):
        connect(address, grpc=grpc)


@pytest.mark.parametrize(
    ("address", "grpc"),
    [
        ("[::1]:8501", False),
        ("host:80/models", False),
        ("https://host/models/", False),
        ("http://host", False),
        ("grpc://host:8500", True),
    ],
)
def test_addresses_with_a_port_or_a_scheme_are_accepted(address, grpc, connect):
    assert connect(address, grpc=grpc)


@pytest.fixture(scope="module")
def tiny_grpc_server(tiny_model):
    """A gRPC server of the model: a bad image fails its batch."""
    with grpc_server.serving(tiny_model) as (address, service):
        yield address, service


def test_a_server_answers_by_grpc_as_by_rest(tiny_grpc_server, server, connect):
    asked = connect(tiny_grpc_server[0], grpc=True)
    assert asked.check(10) == 1
    images = [GOOD, tiny_export.encoded(".png")]
    assert asked.ask(images, 10) == connect(server).ask(images, 10)


def test_errors_by_grpc_are_split_too(tiny_grpc_server, connect):
    address, service = tiny_grpc_server
    with pytest.raises(Rejected) as rejected:
        connect(address, grpc=True).ask([GOOD, GOOD[:700]], 10)
    assert "\n" not in str(rejected.value)
    with pytest.raises(Lost, match="no longer served .Servable not found"):
        connect(address, grpc=True, name="other").ask([GOOD], 10)
    with pytest.raises(Rejected, match="Could not find"):
        connect(address, grpc=True, name="other").check(10)
    service.failures = 1
    with pytest.raises(Lost, match="Try again"):
        connect(address, grpc=True).ask([GOOD], 10)


def test_an_answer_of_any_length_does_not_fill_the_memory(connect, monkeypatch):
    monkeypatch.setattr(client, "_MAX_ANSWER", 1000)
    body = b'{"predictions": [' + b" " * 2000
    with (
        scripted((200, {}, body)) as (address, _),
        pytest.raises(Rejected, match="more than 1,000 bytes"),
    ):
        connect(address).ask([GOOD], 10)


def test_grpc_at_a_server_of_rest_is_explained(connect):
    with pytest.raises(Lost, match="bin/serve has REST only"):
        connect(GONE, grpc=True).check(0.5)


def test_labels_by_grpc_may_have_any_letters(connect):
    columns = {"rle": [["1 2"]], "score": [[0.5]], "label": [["Öl"]]}
    answer = {name: tf.make_tensor_proto(value) for name, value in columns.items()}
    (row,) = connect(GONE, grpc=True)._rows(answer)
    assert row == {"rle": ["1 2"], "score": [0.5], "label": ["Öl"]}
