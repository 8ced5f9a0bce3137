import asyncio
import base64
import contextlib
import gc
import json
import threading

import httpx
import numpy as np
import pytest
from helpers import tiny_export

from clouds import rle, schema
from clouds.config.serving import Serving
from clouds.serving import protocol
from clouds.serving.app import Service
from clouds.serving.model_store import Model

PREDICT = "/v1/models/clouds:predict"
GOOD = tiny_export.encoded()
BAD = GOOD[:700]


def b64(contents):
    return {"b64": base64.b64encode(contents).decode()}


@pytest.fixture(scope="module")
def model(tiny_model):
    return Model(str(tiny_model), "clouds")


@pytest.fixture
def talk(model):
    """Runs a scenario with a client of a service with the given settings."""

    def run(scenario, **settings):
        settings = Serving(model="unused", max_images=4, **settings)

        async def whole():
            application = Service(settings, model).application()
            async with application.router.lifespan_context(application):
                transport = httpx.ASGITransport(application)
                client = httpx.AsyncClient(
                    transport=transport, base_url="http://localhost"
                )
                async with client:
                    return await scenario(client)

        return asyncio.run(whole())

    return run


@pytest.fixture
def ask(talk):
    """Sends one request."""

    def one(method, path, **options):
        return talk(lambda client: client.request(method, path, **options))

    return one


def refused(response, status, *parts):
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    for part in parts:
        assert part in response.json()["error"]


def test_rows_and_columns_are_answered_alike(ask):
    images = [b64(GOOD), b64(tiny_export.encoded(".png"))]
    by_row = ask("POST", PREDICT, json={"instances": images}).json()["predictions"]
    by_column = ask("POST", PREDICT, json={"inputs": images}).json()["outputs"]
    assert by_row[0]["label"] == list(schema.CLOUDS.labels)
    for name in ("rle", "score", "area", "label"):
        assert [row[name] for row in by_row] == by_column[name]
    masks = [rle.decode(text, schema.SUBMISSION_SIZE) for text in by_row[1]["rle"]]
    assert [mask.sum() for mask in masks] == by_row[1]["area"]
    assert by_row[1]["area"][0] > 10_000


def test_versions_and_labels_are_answered_as_the_latest(ask):
    asked = {"instances": [b64(GOOD)]}
    latest = ask("POST", PREDICT, json=asked).json()
    for path in ("versions/1", "labels/latest"):
        response = ask("POST", f"/v1/models/clouds/{path}:predict", json=asked)
        assert response.json() == latest


@pytest.mark.parametrize("ending", ["", "/metadata", ":predict"])
def test_a_missing_label_is_reported_with_the_existing_one(ask, ending):
    method = "POST" if ending == ":predict" else "GET"
    response = ask(method, f"/v1/models/clouds/labels/previous{ending}")
    refused(response, 404, "latest, which is version 1", "'previous'")


def test_masks_as_pngs_and_probabilities_are_returned(ask):
    asked = {"instances": [b64(GOOD)], "signature_name": "masks_png"}
    (planes,) = ask("POST", PREDICT, json=asked).json()["predictions"]
    assert base64.b64decode(planes[0]["b64"]).startswith(b"\x89PNG")
    asked["signature_name"] = "probabilities"
    (found,) = ask("POST", PREDICT, json=asked).json()["predictions"]
    assert np.shape(found) == (*tiny_export.SIZE, 4)


def test_pixels_are_answered_as_their_file_is(ask):
    file = tiny_export.encoded(".png")
    of_file = ask("POST", PREDICT, json={"instances": [b64(file)]}).json()
    pixels = {"signature_name": "images_uint8"}
    pixels["instances"] = [tiny_export.picture().tolist()]
    assert ask("POST", PREDICT, json=pixels).json() == of_file


def test_one_bad_image_among_good_ones_has_a_reason_in_its_place(ask):
    images = [b64(GOOD), b64(BAD), b64(b"no image"), b64(GOOD)]
    response = ask("POST", PREDICT, json={"instances": images})
    assert response.status_code == 200
    first, cut, none, last = response.json()["predictions"]
    assert first == last and first["area"][0] > 10_000
    assert cut["code"] == none["code"] == 400
    assert "700 bytes that cannot be decoded" in cut["error"]
    assert "JPEG, PNG or BMP" in none["error"]


def test_one_bad_image_in_a_column_refuses_the_request(ask):
    response = ask("POST", PREDICT, json={"inputs": [b64(GOOD), b64(BAD)]})
    refused(response, 400, "Row 1: ", "700 bytes")


def test_a_single_bad_image_is_refused(ask):
    refused(ask("POST", PREDICT, json={"instances": [b64(BAD)]}), 400, "700 bytes")


def test_too_many_images_are_refused(ask):
    asked = {"instances": [b64(GOOD)] * 5}
    refused(ask("POST", PREDICT, json=asked), 413, "4 images at most")


def test_status_and_metadata_are_returned(ask, model):
    assert ask("GET", "/v1/models/clouds").json() == model.status()
    assert ask("GET", "/v1/models/clouds/versions/1").json() == model.status()
    assert ask("GET", "/v1/models/clouds/labels/latest").json() == model.status()
    for asked in ("", "/versions/1", "/labels/latest"):
        path = f"/v1/models/clouds{asked}/metadata"
        told = ask("GET", path).json()
        expected = {"name": "clouds", "signature_name": "", "version": "1"}
        assert told["model_spec"] == expected
        assert "masks_png" in told["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/other", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("GET", "/v1/models/clouds/versions/2", 404),
        ("POST", "/v1/models/clouds/versions/2:predict", 404),
        ("GET", f"/v1/models/clouds/versions/{'9' * 5000}", 404),
        ("GET", "/v1/models/other/labels/latest", 404),
        ("POST", "/v1/models/clouds:classify", 405),
        ("GET", PREDICT, 405),
        ("PUT", PREDICT, 405),
        ("POST", "/v1/models/clouds/versions/x:predict", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/models/../../etc/passwd", 404),
        ("GET", "/v1/models/%00", 404),
        ("GET", "/etc/passwd", 404),
        ("GET", "/v1/models/clouds/", 404),
        ("POST", "/v1/models/clouds/../../x:predict", 404),
        ("DELETE", "/v1/models/clouds", 405),
    ],
)
def test_missing_routes_and_models_are_404_or_405(ask, method, path, status):
    refused(ask(method, path), status)


def test_an_image_file_is_answered_with_what_the_page_needs(ask):
    plain = ask("POST", "/v1/images", content=GOOD).json()
    assert "probabilities" not in plain
    told = ask("POST", "/v1/images?probabilities", content=GOOD).json()
    assert told["labels"] == list(schema.CLOUDS.labels)
    assert (told["version"], told["size"], told["rule"]) == (1, [350, 525], None)
    asked = {"instances": [b64(GOOD)], "signature_name": "probabilities"}
    (expected,) = ask("POST", PREDICT, json=asked).json()["predictions"]
    planes = np.frombuffer(base64.b64decode(told["probabilities"]["b64"]), np.uint8)
    planes = planes.reshape(4, *told["probabilities"]["size"])
    assert np.abs(planes.transpose(1, 2, 0) / 255 - expected).max() <= 0.5001 / 255


@pytest.mark.parametrize("contents", [b"", BAD])
def test_a_bad_image_file_is_refused_with_a_reason(ask, contents):
    refused(
        ask("POST", "/v1/images?probabilities", content=contents), 400, "Image must"
    )


def test_masks_become_polygons(ask):
    asked = {"image": "<a>.jpg", "rle": ["1 3", "", "", ""], "score": [0.5, 0, 0, 0]}
    response = ask("POST", "/v1/geojson", json=asked)
    assert response.headers["content-type"] == "application/geo+json"
    (fish,) = response.json()["features"]
    expected = {"image": "<a>.jpg", "label": "Fish", "area_px": 3, "score": 0.5}
    assert fish["properties"] == expected


FOUR = [1, 1, 1, 1]


@pytest.mark.parametrize(
    "asked",
    [
        [],
        {},
        {"image": "", "rle": ["1 3"] * 3, "score": FOUR},
        {"image": "", "rle": ["1", "", "", ""], "score": FOUR},
        {"image": "", "rle": ["x y", "", "", ""], "score": FOUR},
        {"image": "", "rle": ["1 999999", "", "", ""], "score": FOUR},
        {"image": "", "rle": ["1 3", "", "", ""], "score": ["x"] * 4},
        {"image": "", "rle": ["1 3", "", "", ""], "score": ["nan"] * 4},
    ],
)
def test_invalid_masks_are_refused(ask, asked):
    refused(ask("POST", "/v1/geojson", json=asked), 400)


def test_masks_with_too_many_runs_are_refused(ask):
    board = " ".join(f"{start} 1" for start in range(1, 20_000, 2))
    asked = {"image": "", "rle": [board] * 4, "score": FOUR}
    refused(ask("POST", "/v1/geojson", json=asked), 413, "Received: 40,000")
    asked["rle"] = [board, board, "", ""]
    assert ask("POST", "/v1/geojson", json=asked).status_code == 200


def test_health_and_metrics_are_returned(talk):
    async def scenario(client):
        await client.post(PREDICT, json={"instances": [b64(GOOD), b64(BAD)]})
        await client.get("/nowhere")
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).text == "ok\n"
        return (await client.get("/metrics")).text

    figures = talk(scenario)
    route = 'route="/v1/models/{name}:predict",status="200"'
    assert f"clouds_requests_total{{{route}}} 1.0" in figures
    assert 'clouds_images_total{outcome="answered"} 1.0' in figures
    assert 'clouds_images_total{outcome="refused"} 1.0' in figures
    assert "clouds_held_bytes 0.0" in figures
    assert "clouds_model_version 1.0" in figures


@contextlib.contextmanager
def held_up(model, monkeypatch):
    """Blocks the model: events that it has started, and that it may finish."""
    signature = model.version.signatures[protocol.DEFAULT]
    begun, go = threading.Event(), threading.Event()

    def slowly(rows):
        begun.set()
        go.wait(10)
        return signature(rows)

    slowly.inputs, slowly.takes_files = signature.inputs, True
    slowly.bands = signature.bands
    monkeypatch.setitem(model.version.signatures, protocol.DEFAULT, slowly)
    yield begun, go
    go.set()


def test_a_full_queue_gets_429_and_a_time_to_retry(talk, model, monkeypatch):
    async def scenario(client):
        with held_up(model, monkeypatch) as (begun, go):
            first = asyncio.create_task(client.post("/v1/images", content=GOOD))
            await asyncio.to_thread(begun.wait)
            four = {"instances": [b64(GOOD)] * 4}
            waiting = asyncio.create_task(client.post(PREDICT, json=four))
            while (
                "clouds_waiting_images 4.0" not in (await client.get("/metrics")).text
            ):
                await asyncio.sleep(0.01)
            refusal = await client.post("/v1/images", content=GOOD)
            refused(refusal, 429, "too many images waiting")
            assert int(refusal.headers["retry-after"]) >= 1
            go.set()
        return [(await first).status_code, (await waiting).status_code]

    assert talk(scenario, max_queue=4) == [200, 200]


def test_pixels_of_all_requests_share_a_limit(talk, model, monkeypatch):
    async def scenario(client):
        three = {"instances": [b64(GOOD)] * 3}
        refused(await client.post(PREDICT, json=three), 413, "60,000 pixels at most")
        with held_up(model, monkeypatch) as (begun, go):
            two = {"instances": [b64(GOOD)] * 2}
            first = asyncio.create_task(client.post(PREDICT, json=two))
            await asyncio.to_thread(begun.wait)
            refusal = await client.post("/v1/images", content=GOOD)
            refused(refusal, 429, "too many pixels waiting")
            assert int(refusal.headers["retry-after"]) >= 1
            go.set()
        await first
        return (await client.post("/v1/images?probabilities", content=GOOD)).status_code

    assert talk(scenario, max_pixels=0.03, max_total_pixels=0.06) == 200


@pytest.mark.parametrize("is_reading", [True, False])
def test_requests_after_the_shutdown_timeout_get_503(
    talk, model, monkeypatch, caplog, is_reading
):
    sent = []

    async def scenario(client):
        with held_up(model, monkeypatch) as (begun, _):
            messages = [] if is_reading else [{"type": "http.request", "body": GOOD}]

            async def receive():
                return messages.pop() if messages else await asyncio.Future()

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/v1/images"}
            scope |= {"query_string": b"", "root_path": "", "headers": []}
            task = asyncio.create_task(client._transport.app(scope, receive, send))
            await (asyncio.sleep(0.01) if is_reading else asyncio.to_thread(begun.wait))
            task.cancel()
            await task

    talk(scenario)
    assert sent[0]["status"] == 503
    assert b"The server is stopping" in sent[1]["body"]
    assert not caplog.records


def test_polling_goes_on_after_an_error_and_logs_it_once(
    talk, model, monkeypatch, caplog
):
    errors = [OSError(24, "Too many open files")] * 3
    done = threading.Event()

    def refresh():
        if errors:
            raise errors.pop()
        done.set()

    monkeypatch.setattr(model, "refresh", refresh)
    talk(lambda client: asyncio.to_thread(done.wait, 10), poll_interval=0.001)
    assert done.is_set()
    assert [record.message for record in caplog.records] == [
        "Cannot look for new versions: [Errno 24] Too many open files"
    ]


@pytest.mark.parametrize("path", ["/v1/images", PREDICT])
def test_a_disconnected_client_is_no_error(talk, model, monkeypatch, caplog, path):
    two = json.dumps({"instances": [b64(GOOD)] * 2}).encode()
    body = {"type": "http.request", "body": two if path == PREDICT else GOOD}
    sent = []

    async def scenario(client):
        with held_up(model, monkeypatch) as (begun, _):

            async def receive():
                if "body" in messages[0]:
                    return messages.pop(0)
                await asyncio.to_thread(begun.wait)
                return messages[0]

            async def send(message):
                sent.append(message)

            messages = [body, {"type": "http.disconnect"}]
            scope = {"type": "http", "method": "POST", "path": path, "headers": []}
            scope |= {"query_string": b"", "root_path": ""}
            await client._transport.app(scope, receive, send)

    talk(scenario)
    gc.collect()
    assert sent[0]["status"] == 499
    assert not caplog.records


def test_bodies_share_a_memory(talk, model, monkeypatch):
    async def scenario(client):
        with held_up(model, monkeypatch) as (begun, go):
            held = GOOD + bytes(1_000_000)
            first = asyncio.create_task(client.post("/v1/images", content=held))
            await asyncio.to_thread(begun.wait)
            refused(await client.post("/v1/images", content=held), 503, "memory")
            assert (
                await client.post("/v1/images", content=GOOD[:9])
            ).status_code == 400
            go.set()
        return (await first).status_code

    assert talk(scenario, max_body=1.5, max_memory=1.5) == 200


def test_an_error_of_the_server_is_returned_without_its_text(
    ask, model, monkeypatch, caplog
):
    def broken(rows):
        raise RuntimeError("/a/path of the host")

    signature = model.version.signatures[protocol.DEFAULT]
    broken.inputs, broken.takes_files = signature.inputs, True
    broken.bands = signature.bands
    monkeypatch.setitem(model.version.signatures, protocol.DEFAULT, broken)
    refused(ask("POST", "/v1/images", content=GOOD), 500, "The server failed")
    assert "/a/path" in caplog.text
    monkeypatch.setattr(model, "status", broken)
    refused(ask("GET", "/v1/models/clouds"), 500, "The server failed")


def test_the_page_is_served(ask):
    response = ask("GET", "/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Cloud patterns</title>" in response.text


def test_files_for_a_model_that_takes_numbers_are_refused(tmp_path):
    tiny_export.write(tmp_path, bands=schema.Bands(tuple("abcde"), "float32"))

    async def whole():
        service = Service(Serving(model="unused"), Model(str(tmp_path), "clouds"))
        application = service.application()
        async with application.router.lifespan_context(application):
            transport = httpx.ASGITransport(application)
            options = {"transport": transport, "base_url": "http://localhost"}
            async with httpx.AsyncClient(**options) as client:
                refused = await client.post("/v1/images", content=GOOD)
                image = np.zeros((4, 6, 5)).tolist()
                body = {"instances": [{"images": image}]}
                return refused, await client.post(PREDICT, json=body)

    refused, answered = asyncio.run(whole())
    assert refused.status_code == 400
    assert "takes no files, but 'images' of 5 bands of float32" in refused.text
    assert answered.json()["predictions"][0]["rle"] == [""] * 4
