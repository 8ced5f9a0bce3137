import contextlib
import http.server
import json
import threading
import time

import pytest
from helpers import grpc_server, tiny_export

from clouds.client import client
from clouds.client.client import Answer
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


@contextlib.contextmanager
def scripted(*answers):
    """A server of canned answers (status, headers, body), and what it was sent."""
    left, seen = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self):
            length = int(self.headers.get("content-length", 0))
            seen.append((self.path, self.rfile.read(length)))
            status, headers, body = left.pop(0)
            self.send_response(status)
            if isinstance(body, bytes):
                headers, body = {"content-length": len(body), **headers}, [body]
            for name, value in headers.items():
                self.send_header(name, str(value))
            self.end_headers()
            with contextlib.suppress(OSError):
                for piece in body:
                    self.wfile.write(piece)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


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


def test_bad_images_are_told_one_by_one_and_other_models_are_not_there(server, connect):
    good, bad = connect(server).ask([GOOD, GOOD[:700]], 10)
    assert isinstance(good, Answer)
    assert "cannot be decoded" in str(bad)
    with pytest.raises(Rejected, match="no model has this name"):
        connect(server, name="other").check(10)
    with pytest.raises(Lost, match="no longer served .Version must be"):
        connect(server, version=7).ask([GOOD], 10)


def test_what_is_no_server_of_models_is_told_so(connect):
    with (
        scripted((200, {}, b"<html>"), (200, {}, b"{}")) as (address, _),
    ):
        for _ in range(2):
            with pytest.raises(Rejected, match="as a server of models"):
                connect(address).check(10)


@pytest.mark.parametrize("grpc", [False, True])
def test_a_version_that_is_not_there_is_told_with_those_that_are(
    grpc, server, tiny_grpc_server, connect
):
    address = tiny_grpc_server[0] if grpc else server
    connect(address, grpc=grpc, version=1).check(10)
    expected = "--model-version must be one that the server has: 1. Received: 7"
    with pytest.raises(InputError, match=expected):
        connect(address, grpc=grpc, version=7).check(10)


def test_only_versions_that_are_served_count(connect):
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


def test_the_version_that_is_the_latest_at_first_is_asked_to_the_end(connect):
    states = [{"version": str(k), "state": "AVAILABLE"} for k in (3, 12, 4)]
    body = json.dumps({"model_version_status": states}).encode()
    gone = (404, {}, b'{"error": "no version 12"}')
    with scripted((200, {}, body), gone) as (address, seen):
        asked = connect(address)
        assert asked.check(10) == 12
        with pytest.raises(Lost, match="no longer served .no version 12"):
            asked.ask([GOOD], 10)
    assert seen[1][0] == "/v1/models/clouds/versions/12:predict"


def test_a_model_that_has_no_version_yet_may_have_one_later(connect):
    body = json.dumps({"model_version_status": []}).encode()
    with scripted((200, {}, body)) as (address, _), pytest.raises(Busy, match="no ver"):
        connect(address).check(10)


def test_what_may_succeed_later_is_told_from_what_will_not(connect):
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
        with pytest.raises(InputError, match="'rle' and 'score' of 4 labels"):
            asked.ask([GOOD], 10)


def test_the_deadline_is_for_the_whole_answer(connect):
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
def test_answers_of_another_model_are_refused(predictions, connect):
    body = json.dumps({"predictions": predictions}).encode()
    with (
        scripted((200, {}, body)) as (address, _),
        pytest.raises(InputError, match="Check --server and --name"),
    ):
        connect(address).ask([GOOD], 10)


def test_a_server_out_of_reach_is_lost(connect):
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
def test_an_address_of_another_kind_or_without_a_port_is_refused(
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
def test_addresses_with_a_port_or_of_a_scheme_that_has_one_are_taken(
    address, grpc, connect
):
    assert connect(address, grpc=grpc)


@pytest.fixture(scope="module")
def tiny_grpc_server(tiny_model):
    """TensorFlow Serving's, as far as a client sees: a bad image spoils its batch."""
    with grpc_server.serving(tiny_model) as (address, service):
        yield address, service


def test_a_server_answers_by_grpc_as_by_rest(tiny_grpc_server, server, connect):
    asked = connect(tiny_grpc_server[0], grpc=True)
    assert asked.check(10) == 1
    images = [GOOD, tiny_export.encoded(".png")]
    assert asked.ask(images, 10) == connect(server).ask(images, 10)


def test_by_grpc_too_what_may_succeed_is_told_apart(tiny_grpc_server, connect):
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


def test_files_are_fetched_up_to_a_size():
    answers = [
        (302, {"location": "/there"}, b""),
        (200, {}, b"12345"),
        (200, {}, b"12345"),
        (404, {}, b"no"),
        (503, {}, b"no"),
        (200, {"content-encoding": "gzip"}, b"no"),
    ]
    with scripted(*answers) as (address, seen):
        url = f"http://{address}/a.jpg"
        assert client.fetch(url, 10, 5) == b"12345"
        assert [path for path, _ in seen] == ["/a.jpg", "/there"]
        with pytest.raises(Rejected, match="more than 4 bytes"):
            client.fetch(url, 10, 4)
        with pytest.raises(Rejected, match="404"):
            client.fetch(url, 10, 5)
        with pytest.raises(Busy, match="503"):
            client.fetch(url, 10, 5)
        with pytest.raises(Busy, match="cannot be fetched"):
            client.fetch(url, 10, 5)
    with pytest.raises(Busy, match="cannot be fetched"):
        client.fetch(f"http://{GONE}/a.jpg", 10, 5)
