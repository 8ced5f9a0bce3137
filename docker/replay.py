"""Sends good and bad requests to a server of an exported model.

The server is TensorFlow Serving or `bin/serve`. It must answer good requests as the
export does in Python, refuse bad ones with a reason, and continue to work. Prints a
line per request; exits with 1 if an answer is wrong.

Example:
  python docker/replay.py http://localhost:8501 --model models/clouds
"""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from clouds.data import scenes
from clouds.runtime import startup
from clouds.text import counted


class Request(NamedTuple):
    """A request; a bad one must be refused."""

    name: str
    signature: str
    batch: np.ndarray
    good: bool = True


class RefusedError(Exception):
    """The reason why a server refuses a request."""


Answer = dict[str, np.ndarray]


def requests() -> list[Request]:
    """Returns the requests to send."""
    image, _ = scenes.scene(0, (350, 525))
    small, _ = scenes.scene(1, (48, 72))
    jpeg, png, bmp = (encoded(image, ending) for ending in (".jpg", ".png", ".bmp"))
    huge = png[:16] + (30000).to_bytes(4, "big") * 2 + png[24:]
    alpha = np.dstack([small, np.full(small.shape[:2], 9, np.uint8)])
    files = {
        "JPEG": [jpeg],
        "PNG": [png],
        "BMP": [bmp],
        "three images": [jpeg, png, bmp],
        "grey": [encoded(small[..., 1], ".jpg")],
        "alpha": [encoded(alpha, ".png")],
        "16 bits": [encoded(small * np.uint16(257), ".png")],
        "1x1": [encoded(small[:1, :1], ".png")],
    }
    bad = {
        "no bytes": [b""],
        "text": [b"This is plain text, not an image at all."],
        "GIF": [b"GIF89a" + jpeg],
        "truncated": [jpeg[: len(jpeg) // 2]],
        "30000x30000 in a small file": [huge],
        "one bad among good": [jpeg, jpeg[:300], png],
        "no image": [],
    }
    default, pixels = "serving_default", small[None]
    return [
        *(Request(name, default, batch_of(batch)) for name, batch in files.items()),
        Request("probabilities", "probabilities", batch_of([jpeg, png])),
        Request("PNGs of masks", "masks_png", batch_of([jpeg, png])),
        Request("floats", "images", np.repeat(pixels, 2, 0).astype(np.float32)),
        Request("bytes", "images_uint8", pixels),
        *(Request(name, default, batch_of(b), good=False) for name, b in bad.items()),
        Request("floats out of range", "images", pixels * np.float32(9), good=False),
        Request("four channels", "images_uint8", alpha[None], good=False),
        Request("no such signature", "nothing", batch_of([jpeg]), good=False),
        Request("JPEG again", default, batch_of([jpeg])),
    ]


def encoded(image: np.ndarray, ending: str) -> bytes:
    """Encodes an image, grey, RGB or with alpha."""
    if image.ndim == 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[-1])]]
    return cv2.imencode(ending, image)[1].tobytes()


def batch_of(contents: list[bytes]) -> np.ndarray:
    """Returns files as object[B]."""
    batch = np.empty(len(contents), object)
    batch[:] = contents
    return batch


def over_rest(url: str, request: Request) -> Answer:
    """Sends a request by REST."""
    if request.batch.dtype == object:
        rows = [{"b64": base64.b64encode(one).decode()} for one in request.batch]
    else:
        rows = request.batch.tolist()
    body = {"signature_name": request.signature, "instances": rows}
    http_request = urllib.request.Request(
        f"{url}/v1/models/clouds:predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(http_request, timeout=60) as response:
            predictions = json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        raise RefusedError(f"{error.code} {json.load(error)['error']}") from error
    for row in predictions:
        # bin/serve refuses single images.
        if isinstance(row, dict) and "error" in row:
            raise RefusedError(f"{row['code']} {row['error']}")
    # A single output has no name.
    singles = {"probabilities": "probabilities", "masks_png": "mask_bytes"}
    if name := singles.get(request.signature):
        predictions = [{name: prediction} for prediction in predictions]
    return {
        key: np.array([_decode(row[key]) for row in predictions])
        for key in predictions[0]
    }


def over_grpc(address: str, request: Request) -> Answer:
    """Sends a request by gRPC, with TensorFlow Serving's own stubs."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    message = predict_pb2.PredictRequest()
    message.model_spec.name = "clouds"
    message.model_spec.signature_name = request.signature
    files = request.batch.dtype == object
    tensor = tf.make_tensor_proto(
        request.batch.tolist() if files else request.batch,
        dtype=tf.string if files else None,
        shape=request.batch.shape,
    )
    message.inputs["image_bytes" if files else "images"].CopyFrom(tensor)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            outputs = stub.Predict(message, timeout=60).outputs
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
                raise
            raise RefusedError(f"{error.code().name} {error.details()}") from error
    return {key: tf.make_ndarray(outputs[key]) for key in outputs}


def in_python(model: Path) -> Callable[[Request], Answer]:
    """Returns a function that answers with the newest version of a model."""
    tf = startup.load("tensorflow")
    newest = max(int(path.name) for path in model.iterdir() if path.name.isdecimal())
    loaded = tf.saved_model.load(str(model / str(newest)))

    def answer(request: Request) -> Answer:
        signature = loaded.signatures[request.signature]
        (key,) = signature.structured_input_signature[1]
        files = request.batch.dtype == object
        batch = tf.constant(request.batch.tolist() if files else request.batch)
        outputs = signature(**{key: batch})
        return {name: value.numpy() for name, value in outputs.items()}

    return answer


def fault(
    request: Request, answer: Answer | RefusedError, expected: Answer | None
) -> str:
    """Returns what is wrong with an answer, or an empty string."""
    if isinstance(answer, RefusedError):
        return "should be answered" if request.good else ""
    if not request.good:
        return "should be refused"
    lengths = {len(value) for value in answer.values()}
    if lengths != {len(request.batch)}:
        return f"should have {len(request.batch)} rows, has {lengths}"
    for key, value in (expected or {}).items():
        if key not in answer or answer[key].shape != value.shape:
            return f"{key} is missing or has another shape"
        if value.dtype.kind == "f":
            same = np.allclose(answer[key], value, atol=1e-4)
        else:
            same = (answer[key].astype(value.dtype) == value).all()
        if not same:
            return f"{key} differs from Python"
    return ""


def replay(
    ask: Callable[[Request], Answer], model: Callable[[Request], Answer] | None
) -> int:
    """Sends all requests; returns the number of faults."""
    faults = 0
    for request in requests():
        try:
            answer = ask(request)
            shown = ", ".join(f"{key} {value.shape}" for key, value in answer.items())
        except RefusedError as refused:
            answer, shown = refused, " ".join(str(refused).split())[:90]
        expected = model(request) if model and request.good else None
        message = fault(request, answer, expected)
        faults += bool(message)
        print(f"{'FAULT: ' + message if message else 'ok'}  {request.name}: {shown}")
    return faults


def _decode(value):
    """Decodes a value of JSON; bytes are an object."""
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    if isinstance(value, list):
        return [_decode(part) for part in value]
    return value.encode() if isinstance(value, str) else value


def main(arguments: list[str] | None = None) -> int:
    """Sends all requests by REST, by gRPC, or by both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", help="URL of the REST interface")
    parser.add_argument(
        "--grpc", metavar="HOST:PORT", help="address of the gRPC interface"
    )
    parser.add_argument(
        "--model", type=Path, help="folder from bin/export to compare answers with"
    )
    options = parser.parse_args(arguments)
    model = in_python(options.model) if options.model else None
    faults = 0
    if options.url:
        url = options.url.rstrip("/")
        faults += replay(lambda request: over_rest(url, request), model)
    if options.grpc:
        faults += replay(lambda request: over_grpc(options.grpc, request), model)
    print(counted(faults, "fault") if faults else "All answers are right.")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
