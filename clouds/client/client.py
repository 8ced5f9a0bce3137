"""Clients of a server, `bin/serve` or TensorFlow Serving, by REST or by gRPC.

Both ask about a few image files at a time. What may succeed later is told from what
will not, for `clouds.client.retry`.
"""

import base64
import contextlib
import math
import time
import urllib.parse
from collections.abc import Callable, Sequence, Set
from typing import NamedTuple, Protocol

import grpc
import httpx
import orjson
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from clouds import schema
from clouds.client.retry import Busy, Lost, Rejected
from clouds.config.serving import Request
from clouds.errors import InputError
from clouds.serving import protocol
from clouds.text import counted

_AGAIN = {408, 429, 500, 502, 503, 504}
_GRPC_AGAIN = {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
_PORTS = {"REST": 8501, "gRPC": 8500}
_SERVED = "AVAILABLE"


class _Gone(Rejected):
    """There is nothing of that name."""


class Answer(NamedTuple):
    """What a server found in an image.

    Attributes:
      rle: the runs of each label's mask.
      scores: how sure it is of each label.
    """

    rle: list[str]
    scores: list[float]


class Client(Protocol):
    """A server's model."""

    def close(self) -> None:
        """Ends its connections."""

    def check(self, seconds: float) -> int:
        """Sees whether it is there, and asks one version of it from then on.

        Returns:
          That version, the latest if none was named.

        Raises:
          Busy: not now.
          Rejected: there is no such model.
          InputError: it has no such version.
        """

    def ask(self, files: Sequence[bytes], seconds: float) -> list[Answer | Rejected]:
        """Asks about image files.

        Args:
          files: what they hold.
          seconds: after which to give up.

        Returns:
          An answer for each.

        Raises:
          Busy: it may succeed later; lost, if there is no such model any more.
          Rejected: it will not; with several files, one of them may be at fault.
        """


def connect(settings: Request) -> Client:
    """Makes the client that is asked for; nothing is sent yet.

    Raises:
      InputError: the address is none.
    """
    kind, named = _kind(settings), address(settings).rstrip("/")
    is_url = kind == "REST" and named.startswith(("http://", "https://"))
    bare = named.removeprefix("grpc://" if kind == "gRPC" else "")
    if not (is_url or _has_port(bare)):
        raise InputError(
            f"--server must be ADDRESS:PORT, such as localhost:{_PORTS[kind]}, or for "
            f"REST also http://… or https://…. Received: '{named}', for {kind}."
        )
    if kind == "gRPC":
        return Grpc(bare, settings.name, settings.model_version)
    url = named if is_url else f"http://{named}"
    return Rest(url, settings.name, settings.model_version)


def address(settings: Request) -> str:
    """The server that is asked, named by the settings or by default."""
    return settings.server or f"localhost:{_PORTS[_kind(settings)]}"


def _has_port(address: str) -> bool:
    try:
        return urllib.parse.urlsplit(f"//{address}").port is not None
    except ValueError:
        return False


def _kind(settings: Request) -> str:
    return "gRPC" if settings.grpc else "REST"


class Rest:
    """A client by REST.

    Args:
      url: of the server.
      name: of the model.
      version: of the model; the latest if None.
    """

    def __init__(self, url: str, name: str, version: int | None):
        self._model = f"{url}/v1/models/{name}"
        self._version = version
        self._http = httpx.Client()

    def close(self) -> None:
        """As `Client` has it."""
        self._http.close()

    def check(self, seconds: float) -> int:
        """As `Client` has it."""
        answered = self._send("GET", self._model, seconds)
        try:
            states = orjson.loads(answered)["model_version_status"]
            there = {
                int(each["version"]) for each in states if each["state"] == _SERVED
            }
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as fault:
            raise Rejected("it does not answer as a server of models does") from fault
        self._version = _version(self._version, there)
        return self._version

    def ask(self, files: Sequence[bytes], seconds: float) -> list[Answer | Rejected]:
        """As `Client` has it."""
        rows = [{"b64": base64.b64encode(contents).decode()} for contents in files]
        body = orjson.dumps({"instances": rows})
        version = "" if self._version is None else f"/versions/{self._version}"
        url = f"{self._model}{version}:predict"
        with _lost_if_gone():
            answered = self._send("POST", url, seconds, body)
        try:
            rows = orjson.loads(answered)["predictions"]
            answers = [_of_row(row) for row in rows]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as fault:
            raise _strange(str(fault)) from fault
        return _one_each(answers, files)

    def _send(self, method: str, url: str, seconds: float, body=None) -> bytes:
        end = time.monotonic() + seconds
        asked = {"content": body, "timeout": seconds}
        try:
            with self._http.stream(method, url, **asked) as response:
                return _contents(response, end)
        except httpx.TimeoutException as fault:
            raise Busy(f"no answer within {seconds:.0f} s") from fault
        except httpx.ConnectError as fault:
            raise Lost(f"the server is out of reach ({fault})") from fault
        except httpx.RequestError as fault:
            raise Busy(f"the connection broke ({fault})") from fault
        except httpx.InvalidURL as fault:
            raise Rejected(f"{url} is no URL ({fault})") from fault


class Grpc:
    """A client by gRPC.

    Args:
      address: of the server.
      name: of the model.
      version: of the model; the latest if None.
    """

    def __init__(self, address: str, name: str, version: int | None):
        sizes = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        self._channel = grpc.insecure_channel(address, [(size, -1) for size in sizes])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._spec = {"name": name, "signature_name": protocol.DEFAULT}
        if version is not None:
            self._spec["version"] = {"value": version}

    def close(self) -> None:
        """As `Client` has it."""
        self._channel.close()

    def check(self, seconds: float) -> int:
        """As `Client` has it."""
        try:
            grpc.channel_ready_future(self._channel).result(min(seconds, 5))
        except grpc.FutureTimeoutError as fault:
            raise Lost("the server is out of reach") from fault
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._spec["name"]
        states = _call(self._models.GetModelStatus, request, seconds)
        there = {
            each.version
            for each in states.model_version_status
            if each.state == each.AVAILABLE
        }
        version = _version(self._spec.get("version", {}).get("value"), there)
        self._spec["version"] = {"value": version}
        return version

    def ask(self, files: Sequence[bytes], seconds: float) -> list[Answer | Rejected]:
        """As `Client` has it."""
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(files)))
        with _lost_if_gone():
            outputs = _call(self._stub.Predict, request, seconds).outputs
        try:
            texts = tf.make_ndarray(outputs["rle"]).astype(str).tolist()
            scores = tf.make_ndarray(outputs["score"]).tolist()
            answers = [_answer(*row) for row in zip(texts, scores, strict=True)]
        except (KeyError, TypeError, ValueError) as fault:
            raise _strange(str(fault)) from fault
        return _one_each(answers, files)


def _call(method: Callable, request, seconds: float):
    try:
        return method(request, timeout=seconds)
    except grpc.RpcError as fault:
        reason = (fault.details() or fault.code().name).splitlines()[0]
        if fault.code() is grpc.StatusCode.UNAVAILABLE:
            raise Lost(f"the server is out of reach ({reason})") from fault
        if fault.code() in _GRPC_AGAIN:
            raise Busy(reason) from fault
        gone = fault.code() is grpc.StatusCode.NOT_FOUND
        raise (_Gone if gone else Rejected)(reason) from fault


@contextlib.contextmanager
def _lost_if_gone():
    """Of a model that was there: it may be loaded again, and else nothing helps."""
    try:
        yield
    except _Gone as fault:
        raise Lost(f"the model is no longer served ({fault})") from fault


def _version(wanted: int | None, there: Set[int]) -> int:
    if wanted is None:
        if not there:
            raise Busy("no version of the model is served")
        return max(there)
    if wanted not in there:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise InputError(
            f"--model-version must be one that the server has: {known}. Received: "
            f"{wanted}. Leave it out for the latest."
        )
    return wanted


def fetch(url: str, seconds: float, most: int) -> bytes:
    """Fetches a file.

    Args:
      url: of it.
      seconds: after which to give up.
      most: bytes that it may have.

    Raises:
      Busy: it may succeed later.
      Rejected: it will not.
    """
    end = time.monotonic() + seconds
    try:
        with httpx.stream("GET", url, timeout=seconds, follow_redirects=True) as got:
            return _contents(got, end, most)
    except (httpx.InvalidURL, httpx.TooManyRedirects) as fault:
        raise Rejected(str(fault)) from fault
    except httpx.RequestError as fault:
        raise Busy(f"the image cannot be fetched ({fault})") from fault


def _contents(response: httpx.Response, end: float, most: float = math.inf) -> bytes:
    contents = bytearray()
    for chunk in response.iter_bytes():
        contents += chunk
        if len(contents) > most:
            raise Rejected(f"it has more than {most:,} bytes")
        # httpx times each piece, and not the whole.
        if time.monotonic() > end:
            raise httpx.ReadTimeout("it comes too slowly")
    if response.is_success:
        return bytes(contents)
    try:
        reason = str(orjson.loads(contents)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        reason = f"the server answered {response.status_code}"
    if response.status_code in _AGAIN:
        wait = response.headers.get("retry-after", "")
        raise Busy(reason, float(wait) if wait.isdecimal() else 0)
    raise (_Gone if response.status_code == 404 else Rejected)(reason)


def _of_row(row: dict) -> Answer | Rejected:
    if "error" in row:
        return Rejected(str(row["error"]))
    return _answer(row["rle"], row["score"])


def _answer(texts: Sequence, scores: Sequence) -> Answer:
    if not len(texts) == len(scores) == len(schema.LABELS):
        raise ValueError(counted(len(texts), "mask"))
    return Answer(list(map(str, texts)), [round(float(score), 4) for score in scores])


def _one_each(answers: list, files: Sequence[bytes]) -> list:
    if len(answers) != len(files):
        raise _strange(f"{len(answers)} of {counted(len(files), 'image')}")
    return answers


def _strange(received: str) -> InputError:
    return InputError(
        "The server's model must answer with the 'rle' and 'score' of "
        f"{len(schema.LABELS)} labels, as those of bin/export do. Received: {received}."
        " Check --server and --name."
    )
