"""Routes of the server: TensorFlow Serving's REST API, the web page's, and monitoring.

- `GET /v1/models/NAME`, also with `/versions/N`, `/labels/latest` and `/metadata`, and
  `POST …:predict`: see `clouds.serving.protocol`.
- `POST /v1/images`: takes an image file as the body; returns `rle`, `score` and `area`
  of each of `labels`, on a grid of `size`. With `?probabilities` also `probabilities`
  and `rule`, for the web page.
- `POST /v1/geojson`: takes `image`, `rle` and `score` as JSON; returns polygons.
- `GET /`, the web page; `/healthz`, `/readyz`, and `/metrics` for Prometheus.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from clouds.config.serving import Serving
from clouds.schema import Bands
from clouds.serving import limits, model_store, monitoring, protocol, web_page
from clouds.serving.batching import Batcher, QueueFullError
from clouds.serving.model_store import Model, Signature
from clouds.serving.monitoring import Metrics
from clouds.serving.protocol import Refusal, Row
from clouds.text import counted

_LOG = logging.getLogger(__name__)
_MEGA = 1_000_000
_PARSERS = 2
_CLIENT_CLOSED_REQUEST = 499


class Service:
    """Answers requests to a model, within the limits of the settings."""

    def __init__(self, settings: Serving, model: Model):
        self._settings = settings
        self._model = model
        self._metrics = Metrics()
        self._bodies = limits.Bodies(
            max_bytes=int(settings.max_body * _MEGA),
            max_total=int(settings.max_memory * _MEGA),
            seconds=settings.request_timeout,
        )
        self._batcher = Batcher(
            max_size=settings.max_batch,
            timeout=settings.batch_timeout / 1000,
            max_queue=settings.max_queue,
            report=self._metrics.add_batch,
        )
        self._metrics.waiting.set_function(lambda: len(self._batcher))
        self._metrics.held.set_function(lambda: self._bodies.held)
        self._metrics.version.set_function(lambda: self._model.version.number)
        self._pixels = limits.Pixels(int(settings.max_total_pixels * _MEGA))
        # Few, since JSON takes several times its length while it is parsed.
        self._parsers = ThreadPoolExecutor(_PARSERS, "parsers")

    def application(self) -> Starlette:
        """Returns the ASGI application."""
        routes = [
            self._route("/", self._show_page),
            self._route("/healthz", self._report_health),
            self._route("/readyz", self._report_health),
            self._route("/metrics", self._report_metrics),
            self._route("/v1/images", self._predict_image, "POST"),
            self._route("/v1/geojson", self._draw_polygons, "POST"),
        ]
        for version in ("", "/versions/{version}", "/labels/{label}"):
            model = f"/v1/models/{{name}}{version}"
            routes.append(self._route(f"{model}/metadata", self._report_metadata))
            routes.append(self._route(f"{model}:predict", self._predict, "POST"))
            routes.append(self._route(model, self._report_status))
        application = Starlette(
            routes=routes,
            exception_handlers={HTTPException: _no_route},
            lifespan=self._lifespan,
        )
        # A redirect would go to any host that the client names.
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
        reported = None
        while True:
            await asyncio.sleep(self._settings.poll_interval)
            try:
                changed = await asyncio.to_thread(self._model.refresh)
            except OSError as error:
                # Too many open files, or a disk that is away: it may pass.
                if str(error) != reported:
                    _LOG.error("Cannot look for new versions: %s", error)
                reported = str(error)
                continue
            reported = None
            if changed:
                number = self._model.version.number
                _LOG.info("%s: now serving version %d", self._model.name, number)

    def _route(self, path: str, endpoint: Callable, method: str = "GET") -> Route:
        async def respond(request: Request) -> Response:
            start = time.monotonic()
            try:
                limits.check_host(request.headers.get("host", ""), self._settings.host)
                response = await endpoint(request)
            except Refusal as refusal:
                response = protocol.refused(refusal)
            except ClientDisconnect:
                response = Response(status_code=_CLIENT_CLOSED_REQUEST)
            except asyncio.CancelledError:
                # uvicorn cancels what is left after the shutdown timeout.
                response = protocol.refused(_stopping())
            except Exception:
                _LOG.exception("%s %s", request.method, path)
                response = protocol.refused(_failed())
            self._metrics.seconds.labels(path).observe(time.monotonic() - start)
            self._metrics.requests.labels(path, response.status_code).inc()
            return response

        return Route(path, respond, methods=[method])

    async def _show_page(self, request: Request) -> Response:
        version = self._model.version
        page = web_page.build(version.spec, version.bands)
        return Response(page.html, headers=page.headers)

    async def _report_health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _report_metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=monitoring.CONTENT_TYPE)

    async def _report_status(self, request: Request) -> Response:
        if request.url.path.endswith(":predict"):
            raise Refusal(405, "Predictions must be asked for with POST, not GET.")
        return _json(self._model.status(**request.path_params))

    async def _report_metadata(self, request: Request) -> Response:
        version = self._model.find(**request.path_params)
        spec = {"name": self._model.name, "signature_name": ""}
        spec["version"] = str(version.number)
        definitions = {"signature_def": version.metadata}
        return _json({"model_spec": spec, "metadata": {"signature_def": definitions}})

    async def _predict(self, request: Request) -> Response:
        signatures = self._model.find(**request.path_params).signatures
        inputs = {name: signature.inputs for name, signature in signatures.items()}
        async with self._bodies.read(request) as body:
            query = await self._in_thread(protocol.parse, body, inputs)
            work = self._run(signatures[query.signature], query.rows)
            outputs = await _unless_disconnected(request, work)
            text = await self._in_thread(protocol.answer, outputs, query.by_row)
        return Response(text, media_type="application/json")

    async def _predict_image(self, request: Request) -> Response:
        version = self._model.version
        names = [protocol.DEFAULT]
        if not version.signatures[protocol.DEFAULT].takes_files:
            raise Refusal(
                400,
                f"The model takes no files, but 'images' of {version.bands} as numbers "
                f"in JSON, at /v1/models/{self._model.name}:predict.",
            )
        if "probabilities" in request.query_params:
            names.append("probabilities")
        async with self._bodies.read(request) as body:
            row = {model_store.FILES: np.array(body, object)}
            # Both decode the same image, whose pixels count once.
            work = [
                self._run(version.signatures[name], [row], counts=name == names[0])
                for name in names
            ]
            outputs = await _unless_disconnected(request, asyncio.gather(*work))
        rows = [row for (row,) in outputs]
        for row in rows:
            if isinstance(row, Refusal):
                raise row
        answer = {"version": version.number, "size": version.spec.grid}
        answer |= protocol.serializable(rows[0])
        answer["labels"] = answer.pop("label")
        answer.pop("grid", None)
        if rows[1:]:
            answer["probabilities"] = web_page.pack(rows[1]["probabilities"])
            answer["rule"] = version.rule and dataclasses.asdict(version.rule)
        return _json(answer)

    async def _draw_polygons(self, request: Request) -> Response:
        async with self._bodies.read(request) as body:
            spec = self._model.version.spec
            text = await self._in_thread(web_page.polygons, body, spec)
        return Response(text, media_type="application/geo+json")

    async def _run(
        self, signature: Signature, rows: list[Row], *, counts: bool = True
    ) -> list[Row | Refusal]:
        if len(rows) > self._settings.max_images:
            most = counted(self._settings.max_images, "image")
            raise Refusal(
                413,
                f"A request must have {most} at most. Received: {len(rows)}. Send them "
                "in several requests.",
            )
        checked = [0] * len(rows)
        if signature.takes_files:
            checked = await self._in_thread(self._check_files, rows, signature.bands)
        faults = [each if isinstance(each, Refusal) else None for each in checked]
        good = [row for row, fault in zip(rows, faults, strict=True) if not fault]
        shapes = tuple(value.shape for value in (good or rows)[0].values())
        pixels = sum(each for each in checked if isinstance(each, int)) * counts
        try:
            with self._pixels.hold(pixels, self._batcher.seconds()):
                outputs = iter(await self._batcher.run(signature, good, shapes))
        except QueueFullError as error:
            message = "The server has too many images waiting."
            raise Refusal(429, message, error.seconds) from error
        results = [_checked(fault or next(outputs)) for fault in faults]
        refused = sum(isinstance(result, Refusal) for result in results)
        self._metrics.images.labels("refused").inc(refused)
        self._metrics.images.labels("answered").inc(len(results) - refused)
        return results

    def _check_files(self, rows: list[Row], bands: Bands) -> list[int | Refusal]:
        max_pixels = int(self._settings.max_pixels * _MEGA)
        contents = (row[model_store.FILES].item() for row in rows)
        return [limits.check_image(each, max_pixels, bands) for each in contents]

    def _in_thread(self, function: Callable, *arguments):
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._parsers, function, *arguments)


async def _unless_disconnected(request: Request, work):
    """Waits for work, and cancels it if the client disconnects."""
    work = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({work, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        disconnected.cancel()
        # Retrieves exceptions, which asyncio would log otherwise.
        await asyncio.gather(work, disconnected, return_exceptions=True)


def _checked(result: Row | Exception) -> Row | Refusal:
    if not isinstance(result, Exception) or isinstance(result, Refusal):
        return result
    _LOG.error("A batch failed", exc_info=result)
    return _failed()


async def _no_route(request: Request, error: HTTPException) -> Response:
    text = (
        "Malformed request: no such path, or not with this method. Examples: GET "
        "/v1/models/NAME and POST /v1/models/NAME:predict."
    )
    return protocol.refused(Refusal(error.status_code, text))


def _stopping() -> Refusal:
    return Refusal(503, "The server is stopping. Send the request again.", 1)


def _failed() -> Refusal:
    return Refusal(500, "The server failed to answer this request; see its log.")


def _json(value) -> Response:
    return Response(protocol.dump(value), media_type="application/json")
