"""bin/serve as a process: what is sent to it, good and bad, over real connections."""

import base64
import concurrent.futures
import io
import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
import zlib

import cv2
import httpx
import numpy as np
import pytest
from helpers import tiny_export
from helpers.commands import ROOT, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clouds.cli import main

PREDICT = "/v1/models/clouds:predict"
GOOD = tiny_export.encoded()


def b64(contents):
    return {"b64": base64.b64encode(contents).decode()}


def answered(server, contents=GOOD):
    response = httpx.post(f"{server}/v1/images", content=contents)
    assert response.status_code == 200, response.text
    return response.json()


def refused(server, response, status):
    """Returns the reason, which names nothing of the host; the server still works."""
    assert response.status_code == status, response.text
    reason = response.json()["error"]
    assert reason.endswith(".")
    for leak in (str(ROOT), "Traceback", "site-packages", "{{node", "/tmp"):
        assert leak not in response.text
    assert answered(server)["area"][0] > 10_000
    return reason


def png(width, height, rows, depth=8, colour=2):
    """A PNG by hand: its rows may be of any bytes."""

    def chunk(name, contents):
        checksum = struct.pack(">I", zlib.crc32(name + contents))
        return struct.pack(">I", len(contents)) + name + contents + checksum

    header = struct.pack(">II5B", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def bomb():
    """30,000 x 30,000 grey pixels in 110 kB."""
    row = 1 + 30_000 // 8
    return png(30_000, 30_000, bytes(row * 30_000), depth=1, colour=0)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        pytest.param(b"", "0 bytes", id="empty"),
        pytest.param(b"%PDF-1.7 " * 99, "of another kind", id="not an image"),
        pytest.param(GOOD[: len(GOOD) // 2], "cannot be decoded", id="truncated JPEG"),
        pytest.param(
            tiny_export.encoded(".png")[:300], "cannot be decoded", id="truncated PNG"
        ),
        pytest.param(
            b"\xff\xd8\xff" + bytes(500), "without its size", id="JPEG of zeros"
        ),
        pytest.param(bomb(), "30000 x 30000", id="bomb"),
        pytest.param(png(5, 0, b""), "5 x 0", id="no rows"),
        pytest.param(png(9, 9, b""), "cannot be decoded", id="no pixels"),
    ],
)
def test_a_bad_image_is_refused_with_a_reason(server, contents, reason):
    alone = httpx.post(f"{server}/v1/images", content=contents)
    assert reason in refused(server, alone, 400)
    asked = {"instances": [b64(GOOD), b64(contents), b64(GOOD)]}
    response = httpx.post(f"{server}{PREDICT}", json=asked)
    assert response.status_code == 200
    before, bad, after = response.json()["predictions"]
    assert before == after and before["area"][0] > 10_000
    assert bad["code"] == 400 and reason in bad["error"]


def picture_in(kind):
    image = tiny_export.picture()
    if kind == "16 bit":
        return cv2.imencode(".png", image[..., ::-1].astype(np.uint16) * 257)[1]
    if kind == "alpha":
        return cv2.imencode(".png", np.dstack([image[..., ::-1], image[..., 0]]))[1]
    if kind == "grey":
        return cv2.imencode(".jpg", image[..., 0])[1]
    if kind == "CMYK":
        file = io.BytesIO()
        Image.fromarray(image).convert("CMYK").save(file, "jpeg")
        return file.getvalue()
    return cv2.imencode(".png", image[:1, :1, ::-1])[1]


def composited_on_black():
    image = Image.open(io.BytesIO(bytes(picture_in("alpha"))))
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    file = io.BytesIO()
    Image.alpha_composite(black, image).convert("RGB").save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["16 bit", "alpha", "grey", "CMYK", "1x1"])
def test_images_of_every_kind_are_answered(server, kind):
    areas = answered(server, bytes(picture_in(kind)))["area"]
    whole = answered(server, tiny_export.encoded(".png"))["area"]
    if kind == "16 bit":
        assert areas == whole
    if kind == "alpha":
        assert areas == answered(server, composited_on_black())["area"]
    if kind == "CMYK":
        assert np.allclose(areas, whole, atol=300)
    if kind == "grey":
        assert len(set(areas)) == 1
    if kind == "1x1":
        assert areas == [0] * 4


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"instances": []}, 400),
        ({"inputs": {"image_bytes": []}}, 400),
        ({"instances": [{"b64": "?"}]}, 400),
        ({"instances": [5]}, 400),
        ({"instances": [b64(GOOD)] * 9}, 413),
        ({"instances": [[[[0.5, 0, 0]]]], "signature_name": "images_uint8"}, 400),
        ({"instances": [[[[0, 0]]]], "signature_name": "images_uint8"}, 400),
        ({"instances": [b64(GOOD)], "signature_name": "../../etc/passwd"}, 400),
    ],
)
def test_a_bad_request_is_refused_with_a_reason(server, asked, status):
    refused(server, httpx.post(f"{server}{PREDICT}", json=asked), status)


def test_deep_json_is_refused(server):
    body = b'{"instances":' + b"[" * 200_000
    refused(server, httpx.post(f"{server}{PREDICT}", content=body), 400)


@pytest.mark.parametrize("told", [True, False])
def test_a_body_of_200_mb_is_refused(server, told):
    def chunks():
        for _ in range(200):
            yield bytes(1_000_000)

    headers = {"content-length": "200000000"} if told else {}
    response = httpx.post(
        f"{server}/v1/images", content=chunks(), headers=headers, timeout=30
    )
    assert "4000000 bytes" in refused(server, response, 413)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../../../etc/passwd",
        "/v1/models/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/models/clouds/versions/..%2f1",
        "/v1/models/clouds/versions/-1",
        "/v1/models/clouds/versions/99999999999999999999999999",
        "/v1/models/%00",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/models/clouds;ls",
        "/page.html",
    ],
)
def test_paths_do_not_leave_the_api(server, path):
    with socket.create_connection(_address(server)) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 404 " in head.splitlines()[0]
    assert list(json.loads(body)) == ["error"]
    assert b"root:" not in answer


def _address(server):
    parts = urllib.parse.urlsplit(server)
    return parts.hostname, parts.port


def test_malformed_http_is_refused(server):
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", bytes(1000)):
        with socket.create_connection(_address(server)) as connection:
            connection.sendall(nonsense + b"\r\n\r\n")
            connection.settimeout(10)
            assert b" 400 " in connection.recv(1000)
    answered(server)


def test_slow_clients_do_not_keep_others_waiting_and_slow_bodies_get_408(server):
    head = b"POST /v1/images HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n"
    slow = []
    for beginning in (head[:20], head, head + b"\r\n", head + b"\r\nabc"):
        slow += [socket.create_connection(_address(server)) for _ in range(20)]
        for connection in slow[-20:]:
            connection.sendall(beginning)
    answered(server)
    for connection in slow[40:]:
        connection.settimeout(10)
        answer = b"".join(
            iter(lambda connection=connection: connection.recv(1000), b"")
        )
        assert b" 408 " in answer and b"within 3 s" in answer
    for connection in slow:
        connection.close()


def test_too_many_connections_get_503_until_some_end(tiny_model, tmp_path):
    flags = ["--connections", "2", "--patience", "60", "--grace", "1"]
    with serving(tiny_model, tmp_path / "log", *flags) as (url, _):
        idle = [socket.create_connection(_address(url)) for _ in range(2)]
        assert httpx.get(f"{url}/healthz").status_code == 503
        # Refused without reading it, an upload would see a reset.
        upload = httpx.post(f"{url}/v1/images", content=bytes(20_000_000))
        assert upload.status_code == 503
        assert upload.json()["error"] == "The server has more than 2 connections."
        idle.pop().close()
        assert answered(url)
        idle.pop().close()


def test_names_of_other_hosts_are_refused_on_loopback(server):
    response = httpx.get(f"{server}/v1/models/clouds", headers={"host": "evil.example"})
    assert "Received: 'evil.example'" in refused(server, response, 403)


def test_requests_left_after_the_shutdown_timeout_get_503(tiny_model, tmp_path):
    log = tmp_path / "log"
    with (
        serving(tiny_model, log, "--shutdown-timeout", "0.2") as (url, process),
        socket.create_connection(_address(url)) as client,
    ):
        client.sendall(b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\n")
        client.sendall(b"Content-Length: 1000\r\n\r\nabc")
        while "clouds_held_bytes 3.0" not in httpx.get(f"{url}/metrics").text:
            pass
        process.send_signal(signal.SIGTERM)
        assert b" 503 " in client.recv(1000)
        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()


def test_concurrent_clients_share_batches(server):
    batches = "clouds_batch_images_count"
    before = _figures(server)[batches]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: answered(server), range(40)))
    assert all(answer == answers[0] for answer in answers)
    assert _figures(server)[batches] - before < 40


def _figures(server):
    lines = httpx.get(f"{server}/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_are_answered_or_refused(server, data):
    ending = data.draw(st.sampled_from([".jpg", ".png", ".bmp"]))
    contents = bytearray(tiny_export.encoded(ending, tiny_export.picture(28, 42)))
    places = st.integers(0, len(contents) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)))):
        contents[place] = byte
    contents = contents[: data.draw(st.integers(0, 2 * len(contents)))]
    response = httpx.post(f"{server}/v1/images", content=bytes(contents))
    assert response.status_code in (200, 400), response.text


def test_a_new_version_is_picked_up_and_open_requests_finish(tiny_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_model / "1", model / "1")
    with serving(model, tmp_path / "log", "--poll-interval", "0.1") as (url, process):
        assert answered(url)["version"] == 1
        shutil.copytree(tiny_model / "1", tmp_path / "2")
        (tmp_path / "2").rename(model / "2")
        end = time.monotonic() + 20
        while answered(url)["version"] == 1 and time.monotonic() < end:
            time.sleep(0.1)
        assert answered(url)["version"] == 2
        with socket.create_connection(_address(url)) as connection:
            head = "POST /v1/images HTTP/1.1\r\nhost: localhost\r\n"
            head += f"content-length: {len(GOOD)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + GOOD[:100])
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError):
                socket.create_connection(_address(url))
            connection.sendall(GOOD[100:])
            connection.settimeout(10)
            assert b" 200 " in connection.recv(65536)
        assert process.wait(20) == 0
    assert (tmp_path / "log").read_text() == "clouds: now serving version 2\n"


def test_a_folder_without_a_model_or_a_used_port_is_an_error(
    tmp_path, capsys, server, monkeypatch
):
    # Else it would hold for this process, which trains too.
    monkeypatch.setenv("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "0")
    serve = ["serve", "--model", str(tmp_path)]
    assert main.main([*serve, "--port", str(_address(server)[1])]) == 2
    assert "Cannot listen on 127.0.0.1, port" in capsys.readouterr().err
    assert main.main([*serve, "--port", "0"]) == 2
    assert "which holds none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "package"), [("serve", "uvicorn"), ("request", "httpx")]
)
def test_missing_packages_are_reported_with_how_to_install_them(command, package):
    arguments = [command, "--out", "x", "--images", "x"]
    if command == "serve":
        arguments = [command, "--model", "x"]
    code = f"import sys; sys.modules['{package}'] = None; from clouds.cli import main; "
    code += f"sys.exit(main.main({arguments}))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ended.returncode == 2
    assert f"{package} is not installed, which bin/{command} needs." in ended.stderr
    assert "Run bin/setup serving." in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "70000"], "below 65536"),
        (["--max-batch", "0"], "--max-batch must be above 0"),
        (["--max-images", "200"], "--max-images must not exceed --max-queue"),
        (["--max-memory", "1"], "--max-body must not exceed --max-memory"),
    ],
)
def test_settings_out_of_range_are_errors(flags, message, capsys):
    assert main.main(["serve", "--model", "x", *flags]) == 2
    assert message in capsys.readouterr().err
