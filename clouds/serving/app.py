"""What the server answers: TensorFlow Serving's routes, the page's, and its watchers'.

- `GET /v1/models/NAME`, also `…/versions/N`, `…/labels/latest` and `…/metadata`;
  `POST …:predict`: see `clouds.serving.protocol`. With `Prefer: handling=strict` (RFC 7240)
  one bad image refuses its request, as TensorFlow Serving does; else the others are
  answered.
- `POST /v1/images`: one image file as the body, answered with `rle`, `score` and
  `area` of each of `labels` on a grid of `size`. With `?probabilities` also these:
  `zlib_b64` of uint8[C, h, w], of `size`.
- `POST /v1/geojson`: `image`, `rle` and `score` as JSON, answered with polygons.
- `GET /`, the page; `/healthz`, `/readyz`, and `/metrics` for Prometheus.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import dataclasses
import logging
import math
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus

import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from clouds import schema
from clouds.config.serving import Serving
from clouds.errors import InputError
from clouds.prediction import geojson
from clouds.prediction.journal import Entry
from clouds.serving import limits, model_store, monitoring, protocol, web_page
from clouds.serving.batching import Batcher, Full
from clouds.serving.model_store import Model, Row, Signature
from clouds.serving.monitoring import Metrics
from clouds.serving.protocol import Refusal
from clouds.text import counted

_LOG = logging.getLogger(__name__)
_MEGA = 1_000_000
_PARSERS = 2
_GONE = 499
_DIGITS = 19
_MOST_RUNS = 20_000
"""That become polygons within a second, whatever their form."""


class Service:
    """What answers requests.

    Args:
      settings: the limits.
      model: that is served.
    """

    def __init__(self, settings: Serving, model: Model):
        self._settings = settings
        self._model = model
        self._metrics = Metrics()
        self._memory = limits.Memory(int(settings.max_memory * _MEGA))
        self._batcher = Batcher(
            size=settings.max_batch,
            wait=settings.max_wait / 1000,
            room=settings.max_queue,
            done=self._metrics.batch_done,
        )
        self._metrics.waiting.set_function(lambda: len(self._batcher))
        self._metrics.held.set_function(lambda: self._memory.held)
        self._metrics.version.set_function(lambda: self._model.version.number)
        # Few, as JSON takes several times its length while it is read.
        self._parsers = concurrent.futures.ThreadPoolExecutor(_PARSERS, "parsers")
        self._page = web_page.build()

    def application(self) -> Starlette:
        """The application, to be run by an ASGI server."""
        of_model = "/v1/models/{name}"
        of_version = f"{of_model}/versions/{{version}}"
        of_label = f"{of_model}/labels/{{label}}"
        post = {"methods": ["POST"]}
        routes = [
            self._route("/", self._show_page),
            self._route("/healthz", self._tell_health),
            self._route("/readyz", self._tell_health),
            self._route("/metrics", self._tell_metrics),
            self._route("/v1/images", self._image, **post),
            self._route("/v1/geojson", self._geojson, **post),
        ]
        for model in (of_model, of_version, of_label):
            routes.append(self._route(f"{model}/metadata", self._metadata))
            routes.append(self._route(f"{model}:predict", self._predict, **post))
            for other in ("classify", "regress"):
                routes.append(self._route(f"{model}:{other}", self._not_made, **post))
            routes.append(self._route(model, self._status))
        application = Starlette(
            routes=routes,
            exception_handlers={HTTPException: _unknown},
            lifespan=self._lifespan,
        )
        # To a place that the client's Host header names.
        application.router.redirect_slashes = False
        return application

    @contextlib.asynccontextmanager
    async def _lifespan(self, application: Starlette) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._batcher.work()),
            asyncio.create_task(self._watch()),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._parsers.shutdown(wait=False)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll)
            if await asyncio.to_thread(self._model.refresh):
                version = self._model.version.number
                _LOG.info(
                    "%s, version %d: served from now on", self._model.name, version
                )

    def _route(self, path: str, endpoint: Callable, methods: Sequence[str] = ("GET",)):
        async def answer(request: Request) -> Response:
            started = time.monotonic()
            try:
                response = await endpoint(request)
            except Refusal as refusal:
                response = _refused(refusal)
            except ClientDisconnect:
                response = Response(status_code=_GONE)
            except Exception:
                _LOG.exception("%s %s", request.method, path)
                response = _refused(_failed())
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)
            self._metrics.requests.labels(path, response.status_code).inc()
            return response

        return Route(path, answer, methods=methods)

    async def _show_page(self, request: Request) -> Response:
        return Response(self._page.html, headers=self._page.headers)

    async def _tell_health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _tell_metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=monitoring.CONTENT_TYPE)

    async def _status(self, request: Request) -> Response:
        if "label" in request.path_params:
            return _json(self._model.status(self._version(request).number))
        self._check_name(request)
        return _json(self._model.status(_number(request)))

    async def _metadata(self, request: Request) -> Response:
        version = self._version(request)
        spec = {"name": self._model.name, "signature_name": ""}
        return _json(
            {
                "model_spec": {**spec, "version": str(version.number)},
                "metadata": {
                    "signature_def": {"signature_def": version.metadata},
                },
            }
        )

    async def _not_made(self, request: Request) -> Response:
        raise Refusal(501, "The model has signatures of :predict only.")

    async def _predict(self, request: Request) -> Response:
        signatures = self._version(request).signatures
        inputs = {name: each.inputs for name, each in signatures.items()}
        async with self._body(request) as body:
            query = await self._aside(protocol.parse, body, inputs)
            count = min(len(values) for values in query.inputs.values())
            rows = [
                {
                    name: protocol.take(values, k)
                    for name, values in query.inputs.items()
                }
                for k in range(count)
            ]
            asked = self._ask(signatures[query.signature], rows)
            answered = await _unless_gone(request, asked)
            strict = "handling=strict" in request.headers.get("prefer", "")
            text = await self._aside(
                lambda: protocol.answer(answered, by_row=query.by_row, strict=strict)
            )
        return Response(text, media_type="application/json")

    async def _image(self, request: Request) -> Response:
        version = self._version(request)
        wanted = [protocol.DEFAULT]
        if "probabilities" in request.query_params:
            wanted.append("probabilities")
        async with self._body(request) as body:
            row = {model_store.FILES: np.array(body, object)}
            asked = [self._ask(version.signatures[name], [row]) for name in wanted]
            answered = await _unless_gone(request, asyncio.gather(*asked))
        rows = {name: row for name, (row,) in zip(wanted, answered, strict=True)}
        for row in rows.values():
            if isinstance(row, Refusal):
                raise row
        answer = {"version": version.number, "size": schema.SUBMISSION_SIZE}
        answer |= protocol.described(rows[protocol.DEFAULT])
        answer["labels"] = answer.pop("label")
        if "probabilities" in rows:
            planes = rows["probabilities"]["probabilities"]
            answer["probabilities"] = await self._aside(_packed, planes)
            answer["rule"] = version.rule and dataclasses.asdict(version.rule)
        return _json(answer)

    async def _geojson(self, request: Request) -> Response:
        async with self._body(request) as body:
            found = await self._aside(_collection, body)
        return Response(found, media_type="application/geo+json")

    async def _ask(self, signature: Signature, rows: list[Row]) -> list[Row | Refusal]:
        if len(rows) > self._settings.max_images:
            raise Refusal(
                413,
                "A request must have "
                f"{counted(self._settings.max_images, 'image')} at most. "
                f"Received: {len(rows)}. Send them in several.",
            )
        checked = [None] * len(rows)
        if signature.takes_files:
            checked = await self._aside(self._check_files, rows)
        fine = [row for row, fault in zip(rows, checked, strict=True) if not fault]
        kind = tuple(value.shape for value in (fine or rows)[0].values())
        try:
            answers = iter(await self._batcher.run(signature, fine, kind))
        except Full as full:
            raise Refusal(
                429, "The server has too many images waiting.", full.seconds
            ) from full
        results = [_answered(fault or next(answers)) for fault in checked]
        refused = sum(isinstance(result, Refusal) for result in results)
        self._metrics.images.labels("refused").inc(refused)
        self._metrics.images.labels("answered").inc(len(results) - refused)
        return results

    def _check_files(self, rows: list[Row]) -> list[Refusal | None]:
        faults = []
        for row in rows:
            contents = row[model_store.FILES].item()
            try:
                limits.check_image(contents, int(self._settings.max_pixels * _MEGA))
                faults.append(None)
            except Refusal as fault:
                faults.append(fault)
        return faults

    def _body(self, request: Request):
        most = int(self._settings.max_body * _MEGA)
        seconds = self._settings.request_timeout
        return limits.body(request, most, self._memory, seconds)

    def _version(self, request: Request):
        self._check_name(request)
        if "label" in request.path_params:
            self._model.check_label(request.path_params["label"])
        return self._model.served(_number(request))

    def _check_name(self, request: Request) -> None:
        name = request.path_params.get("name", self._model.name)
        if name != self._model.name:
            raise Refusal(404, "Servable not found: no model has this name here.")

    def _aside(self, function: Callable, *arguments):
        """Calls it in a thread, while other requests are read and answered."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._parsers, function, *arguments)


def _number(request: Request) -> int | None:
    """The version that is asked for, if any."""
    asked = request.path_params.get("version")
    if asked is None:
        return None
    # Python takes no text of thousands of digits for a number.
    if not asked.isdecimal() or len(asked) > _DIGITS:
        raise Refusal(404, f"Version must be a number. Received: {asked[:40]!r}.")
    return int(asked)


async def _unless_gone(request: Request, work):
    """Gives work up where the client no longer waits for it."""
    work = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        gone.cancel()
        # asyncio would log a fault that nobody looks at.
        await asyncio.gather(work, gone, return_exceptions=True)


def _answered(result: Row | Exception) -> Row | Refusal:
    if not isinstance(result, Exception) or isinstance(result, Refusal):
        return result
    _LOG.error("a batch failed", exc_info=result)
    return _failed()


def _packed(probabilities: np.ndarray) -> dict:
    planes = np.rint(probabilities.transpose(2, 0, 1) * 255).astype(np.uint8)
    packed = base64.b64encode(zlib.compress(planes.tobytes())).decode()
    return {"size": planes.shape[1:], "zlib_b64": packed}


def _collection(body: bytes) -> bytes:
    try:
        asked = orjson.loads(body)
        texts, scores = list(map(str, asked["rle"])), list(map(float, asked["score"]))
        image = str(asked["image"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        texts = scores = []
    finite = all(map(math.isfinite, scores))
    if not finite or not len(texts) == len(scores) == len(schema.LABELS):
        raise Refusal(
            400,
            "A request for polygons must be JSON with 'image', and with 'rle' and "
            f"'score' of {len(schema.LABELS)} each.",
        )
    runs = sum(len(text.split()) for text in texts) // 2
    if runs > _MOST_RUNS:
        raise Refusal(
            413,
            f"Masks must have {_MOST_RUNS:,} runs at most, together, to become "
            f"polygons. Received: {runs:,}. Drop their small pieces first.",
        )
    try:
        entry = Entry(image=image, plain=texts, cleaned=texts, scores=scores)
        return protocol.dump(
            {**geojson.collection(), "features": geojson.features(entry)}
        )
    except InputError as fault:
        raise Refusal(400, str(fault)) from fault


async def _unknown(request: Request, fault: HTTPException) -> Response:
    text = (
        "Malformed request: no such path, or not by this method. Known are, for "
        "example, GET /v1/models/NAME and POST /v1/models/NAME:predict."
    )
    return _refused(Refusal(fault.status_code, text))


def _failed() -> Refusal:
    return Refusal(500, "The server failed at this request. Its log says why.")


def _refused(refusal: Refusal) -> Response:
    response = Response(
        protocol.error(refusal), refusal.status, media_type="application/json"
    )
    if refusal.retry_after is not None:
        response.headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == HTTPStatus.REQUEST_TIMEOUT:
        response.headers["connection"] = "close"
    return response


def _json(value) -> Response:
    return Response(protocol.dump(value), media_type="application/json")
