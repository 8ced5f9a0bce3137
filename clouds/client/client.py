"""Clients of a model server, `bin/serve` or TensorFlow Serving, by REST or gRPC.

They raise `Busy` for what may succeed later and `Rejected` for what will not; see
`clouds.client.retry`.
"""

import time
import urllib.parse
from collections.abc import Sequence

import grpc
import httpx
import numpy as np
import orjson
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from clouds.client import answers, http, images
from clouds.client.answers import Answer
from clouds.client.images import Image
from clouds.client.retry import Busy, Lost, NotFound, Rejected
from clouds.config.serving import Request
from clouds.errors import InputError
from clouds.schema import RGB, Bands, MaskSpec
from clouds.serving import protocol
from clouds.text import counted

_GRPC_BUSY = {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_CONNECT_SECONDS = 5
_MAX_ANSWER = 200_000_000
"""Maximum bytes of a response."""


class Client:
    """A model on a server.

    Subclasses implement `close`, `_served` (its versions), `_predict` and `_rows` (the
    response as one dict per file), and may implement `bands`.

    Args:
      name: name of the model.
      version: version of the model; the latest if None.
    """

    def __init__(self, name: str, version: int | None):
        self._name, self._version = name, version
        self._spec = self._bands = None

    def check(self, seconds: float) -> int:
        """Looks for the model, and keeps to one of its versions from then on.

        Returns:
          The version, the latest if none was given.

        Raises:
          Busy: no version is served at the moment.
          Rejected: there is no such model.
          InputError: there is no such version.
        """
        served = self._served(seconds)
        if self._version is None:
            if not served:
                raise Busy("no version of the model is served")
            self._version = max(served)
        elif self._version not in served:
            versions = ", ".join(map(str, sorted(served))) or "none"
            raise InputError(
                f"--model-version must be one that the server has: {versions}. "
                f"Received: {self._version}. Leave it out for the latest."
            )
        return self._version

    def bands(self, seconds: float) -> Bands:
        """Returns the bands of the model's images, without their names.

        Raises:
          Busy: the request may succeed later.
        """
        if self._bands is None:
            try:
                self._bands = images.bands_of(self._signatures(seconds))
            except (KeyError, TypeError, ValueError, Rejected):
                # Servers of the same answers need not describe their models.
                self._bands = RGB
        return self._bands

    def spec(self, seconds: float) -> MaskSpec:
        """Returns the labels and the grid of the model's masks.

        They are those of its answers; without one, an empty image is sent.

        Raises:
          Busy, Rejected, InputError: as for `ask`.
        """
        if self._spec is None:
            bands = self._bands or RGB
            pixel = np.zeros((1, 1, len(bands.names)), bands.dtype)
            self.ask([images.as_file(pixel, bands)], seconds)
        if self._spec is None:
            raise Rejected("the model refuses images")
        return self._spec

    def ask(self, files: Sequence[Image], seconds: float) -> list[Answer | Rejected]:
        """Asks for the masks of image files, given by their contents, or as values.

        Raises:
          Busy: the request may succeed later; `Lost` if the model is gone.
          Rejected: it will not; one of several files may be the reason.
          InputError: it is a model of another kind.
        """
        try:
            response = self._predict(files, seconds)
        except NotFound as error:
            # The model was there, and may be loaded again.
            raise Lost(f"the model is no longer served ({error})") from error
        try:
            found = [answers.read(row) for row in self._rows(response)]
            if len(found) != len(files):
                raise ValueError(f"{len(found)} of {counted(len(files), 'image')}")
            for answer in found:
                if isinstance(answer, Answer):
                    self._spec = self._spec or answer.spec
                    if answer.spec != self._spec:
                        raise ValueError(
                            f"other labels, {', '.join(answer.spec.labels)}"
                        )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "The server's model must answer with the 'rle', 'score' and 'label' of "
                f"each label, as bin/export writes it. Received: {error}. Check "
                "--server and --name."
            ) from error
        return found


def connect(settings: Request) -> Client:
    """Returns the client for the settings, without connecting yet."""
    given = address(settings).rstrip("/")
    kind = "gRPC" if settings.grpc else "REST"
    host = given.removeprefix("grpc://") if settings.grpc else given
    is_url = not settings.grpc and given.startswith(("http://", "https://"))
    if not (is_url or _has_port(host)):
        raise InputError(
            f"--server must be ADDRESS:PORT, such as {_default(settings)}, or for "
            f"REST also http://… or https://…. Received: '{given}', for {kind}."
        )
    if settings.grpc:
        return Grpc(host, settings.name, settings.model_version)
    url = given if is_url else f"http://{given}"
    return Rest(url, settings.name, settings.model_version)


def address(settings: Request) -> str:
    """Returns the address of the server, the default one if none is given."""
    return settings.server or _default(settings)


def _default(settings: Request) -> str:
    return f"localhost:{8500 if settings.grpc else 8501}"


def _has_port(address: str) -> bool:
    try:
        return urllib.parse.urlsplit(f"//{address}").port is not None
    except ValueError:
        return False


class Rest(Client):
    """A client by REST; `url` is that of the server."""

    def __init__(self, url: str, name: str, version: int | None):
        super().__init__(name, version)
        self._url = f"{url}/v1/models/{name}"
        self._http = httpx.Client()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _served(self, seconds: float) -> set[int]:
        response = self._send("GET", self._url, seconds)
        try:
            states = orjson.loads(response)["model_version_status"]
            states = [state for state in states if state["state"] == "AVAILABLE"]
            return {int(state["version"]) for state in states}
        except (KeyError, TypeError, ValueError) as error:
            raise Rejected("it does not answer like a model server") from error

    def _predict(self, files: Sequence[Image], seconds: float) -> bytes:
        body = {"instances": list(map(images.row, files))}
        body = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return self._send("POST", f"{self._versioned()}:predict", seconds, body)

    def _versioned(self) -> str:
        version = "" if self._version is None else f"/versions/{self._version}"
        return f"{self._url}{version}"

    def _signatures(self, seconds: float) -> dict:
        answer = self._send("GET", f"{self._versioned()}/metadata", seconds)
        return orjson.loads(answer)["metadata"]["signature_def"]["signature_def"]

    def _rows(self, response: bytes) -> list[dict]:
        return orjson.loads(response)["predictions"]

    def _send(self, method: str, url: str, seconds: float, body=None) -> bytes:
        end = time.monotonic() + seconds
        options = {"content": body, "timeout": seconds}
        try:
            with self._http.stream(method, url, **options) as response:
                return http.read(response, end, _MAX_ANSWER)
        except httpx.TimeoutException as error:
            raise Busy(f"no answer within {seconds:.0f} s") from error
        except httpx.ConnectError as error:
            raise Lost(f"the server is unreachable ({error})") from error
        except httpx.RequestError as error:
            raise Busy(f"the connection broke ({error})") from error
        except httpx.InvalidURL as error:
            raise Rejected(f"{url} is not a valid URL ({error})") from error


class Grpc(Client):
    """A client by gRPC; `address` includes the port."""

    def __init__(self, address: str, name: str, version: int | None):
        super().__init__(name, version)
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", _MAX_ANSWER),
        ]
        self._channel = grpc.insecure_channel(address, options)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _served(self, seconds: float) -> set[int]:
        try:
            ready = grpc.channel_ready_future(self._channel)
            ready.result(min(seconds, _CONNECT_SECONDS))
        except grpc.FutureTimeoutError as error:
            raise Lost(
                "the server is unreachable by gRPC; bin/serve has REST only, without "
                "--grpc"
            ) from error
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._name
        stub = model_service_pb2_grpc.ModelServiceStub(self._channel)
        states = _call(stub.GetModelStatus, request, seconds).model_version_status
        return {state.version for state in states if state.state == state.AVAILABLE}

    def _predict(self, files: Sequence[Image], seconds: float):
        request = predict_pb2.PredictRequest(model_spec=self._model())
        request.model_spec.signature_name = protocol.DEFAULT
        name, batch = images.batch(files)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(batch))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        return _call(stub.Predict, request, seconds).outputs

    def _model(self) -> dict:
        version = {} if self._version is None else {"version": {"value": self._version}}
        return {"name": self._name, **version}

    def _signatures(self, seconds: float) -> dict:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._model(), metadata_field=["signature_def"]
        )
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        answer = _call(stub.GetModelMetadata, request, seconds)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        fields = json_format.MessageToDict(found, preserving_proto_field_name=True)
        return fields["signature_def"]

    def _rows(self, response) -> list[dict]:
        columns = {"rle": _texts(response["rle"])}
        columns["score"] = tf.make_ndarray(response["score"]).tolist()
        if "label" in response:
            columns["label"] = _texts(response["label"])
        if "grid" in response:
            columns["grid"] = tf.make_ndarray(response["grid"]).tolist()
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


def _texts(tensor) -> list[list[str]]:
    return [[text.decode() for text in row] for row in tf.make_ndarray(tensor)]


def _call(method, request, seconds: float):
    try:
        return method(request, timeout=seconds)
    except grpc.RpcError as error:
        code = error.code()
        reason = (error.details() or code.name).splitlines()[0]
        if code is grpc.StatusCode.UNAVAILABLE:
            raise Lost(f"the server is unreachable ({reason})") from error
        if code in _GRPC_BUSY:
            raise Busy(reason) from error
        not_found = code is grpc.StatusCode.NOT_FOUND
        raise (NotFound if not_found else Rejected)(reason) from error
