"""HTTP responses, read within a deadline."""

import math
import time

import httpx
import orjson

from clouds.client.retry import Busy, NotFound, Rejected

_BUSY = {408, 429, 500, 502, 503, 504}
_MAX_REASON = 500
"""Maximum letters of a server's error that are repeated."""


def fetch(url: str, seconds: float, max_bytes: int) -> bytes:
    """Downloads a file of limited size within a time.

    Raises:
      Busy: it may succeed later.
      Rejected: it will not.
    """
    end = time.monotonic() + seconds
    options = {"timeout": seconds, "follow_redirects": True}
    try:
        with httpx.stream("GET", url, **options) as response:
            return read(response, end, max_bytes)
    except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise Rejected(str(error)) from error
    except httpx.RequestError as error:
        raise Busy(f"the image cannot be downloaded ({error})") from error


def read(response: httpx.Response, end: float, max_bytes: float = math.inf) -> bytes:
    """Reads the content of a response until a time of `time.monotonic`.

    Raises:
      Busy: the status is one that may change.
      Rejected: it is another error, or the content is too large.
      httpx.ReadTimeout: it takes too long.
    """
    contents = bytearray()
    for chunk in response.iter_bytes():
        contents += chunk
        if len(contents) > max_bytes:
            raise Rejected(f"it has more than {max_bytes:,} bytes")
        # httpx applies its timeout to each chunk.
        if time.monotonic() > end:
            raise httpx.ReadTimeout("it arrives too slowly")
    if response.is_success:
        return bytes(contents)
    try:
        reason = str(orjson.loads(contents)["error"])[:_MAX_REASON]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        reason = f"the server answered {response.status_code}"
    if response.status_code in _BUSY:
        wait = response.headers.get("retry-after", "")
        raise Busy(reason, float(wait) if wait.isdecimal() else 0)
    raise (NotFound if response.status_code == 404 else Rejected)(reason)
