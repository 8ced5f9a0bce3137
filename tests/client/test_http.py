import pytest
from helpers.scripted_server import scripted

from clouds.client import http
from clouds.client.retry import Busy, Rejected


def test_files_are_downloaded_up_to_a_size():
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
        assert http.fetch(url, 10, 5) == b"12345"
        assert [path for path, _ in seen] == ["/a.jpg", "/there"]
        with pytest.raises(Rejected, match="more than 4 bytes"):
            http.fetch(url, 10, 4)
        with pytest.raises(Rejected, match="404"):
            http.fetch(url, 10, 5)
        with pytest.raises(Busy, match="503"):
            http.fetch(url, 10, 5)
        with pytest.raises(Busy, match="cannot be downloaded"):
            http.fetch(url, 10, 5)
    with pytest.raises(Busy, match="cannot be downloaded"):
        http.fetch("http://127.0.0.1:9/a.jpg", 10, 5)
