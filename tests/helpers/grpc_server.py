"""TensorFlow Serving's gRPC services for an export, for tests of clients.

It uses the official stubs. It has no batching, and serves the newest version only.
"""

import contextlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Prediction(
    model_service_pb2_grpc.ModelServiceServicer,
    prediction_service_pb2_grpc.PredictionServiceServicer,
):
    """Answers `Predict`, `GetModelStatus` and `GetModelMetadata`.

    Attributes:
      failures: number of requests that still fail as unavailable, to test retries.
    """

    def __init__(self, model: Path, name: str):
        """Loads the newest version."""
        self._version = max(int(path.name) for path in model.iterdir() if path.is_dir())
        folder = model / str(self._version)
        self._loaded = tf.saved_model.load(str(folder))
        contents = (folder / "saved_model.pb").read_bytes()
        self._stored = saved_model_pb2.SavedModel.FromString(contents).meta_graphs[0]
        self._name = name
        self.failures = 0

    def GetModelStatus(self, request, context):  # noqa: N802
        """Returns the state of the newest version."""
        if request.model_spec.name != self._name:
            message = f"Could not find any versions of model {request.model_spec.name}"
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        response = get_model_status_pb2.GetModelStatusResponse()
        state = response.model_version_status.add(version=self._version)
        state.state = state.AVAILABLE
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        """Returns the signatures, as they are stored."""
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self._stored.signature_def.items():
            found.signature_def[name].CopyFrom(signature)
        response.metadata["signature_def"].Pack(found)
        return response

    def Predict(self, request, context):  # noqa: N802
        """Calls the signature of a request."""
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Try again.")
        spec = request.model_spec
        name = spec.signature_name or "serving_default"
        signature = self._loaded.signatures.get(name)
        if spec.name != self._name:
            message = f"Servable not found for request: Latest({spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        if signature is None:
            message = f'Serving signature key "{name}" not found.'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
        try:
            inputs = {
                key: tf.constant(tf.make_ndarray(tensor))
                for key, tensor in request.inputs.items()
            }
            outputs = signature(**inputs)
        except tf.errors.OpError as error:
            context.abort(_CODES[error.error_code], error.message)
        except (TypeError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = self._version
        response.model_spec.signature_name = name
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response


@contextlib.contextmanager
def serving(model: Path, name: str = "clouds") -> Iterator[tuple[str, Prediction]]:
    """Serves a model on loopback; yields the address and the service."""
    service = Prediction(model, name)
    # TensorFlow Serving accepts requests of any length, too.
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        server.stop(None).wait()
