"""Metrics of the server, for Prometheus."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Content type of `Metrics.text`."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server; images have the outcome answered or refused."""

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        options = {"namespace": "clouds", "registry": registry}
        times = {"buckets": _SECONDS, **options}
        self.requests = Counter("requests", "Requests.", ["route", "status"], **options)
        self.seconds = Histogram(
            "request_seconds", "Time from headers to response.", ["route"], **times
        )
        self.images = Counter("images", "Images in requests.", ["outcome"], **options)
        self._batches = Histogram(
            "batch_images", "Images per batch.", buckets=_IMAGES, **options
        )
        self._batch_seconds = Histogram("batch_seconds", "Time per batch.", **times)
        self.waiting = Gauge("waiting_images", "Images in the queue.", **options)
        self.held = Gauge("held_bytes", "Bytes of open requests.", **options)
        self.version = Gauge("model_version", "Version that is served.", **options)

    def add_batch(self, images: int, seconds: float) -> None:
        """Counts a batch."""
        self._batches.observe(images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
