"""What a server counts and times, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of one server.

    Attributes:
      requests: counted by route and status.
      seconds: of a request by route, from its headers to its answer.
      images: counted by outcome, answered or refused.
      batches: images of each batch.
      batch_seconds: that the model took for each.
      waiting: images that wait.
      held: bytes of the requests in memory.
      version: that is served.
    """

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        options = {"namespace": "clouds", "registry": registry}
        labels = ["route", "status"]
        self.requests = Counter("requests", "Requests.", labels, **options)
        self.seconds = Histogram(
            "request_seconds",
            "From a request's headers to its answer.",
            ["route"],
            buckets=_SECONDS,
            **options,
        )
        self.images = Counter("images", "Images asked about.", ["outcome"], **options)
        self.batches = Histogram(
            "batch_images", "Images of a batch.", buckets=_IMAGES, **options
        )
        self.batch_seconds = Histogram(
            "batch_seconds", "Time of a batch.", buckets=_SECONDS, **options
        )
        self.waiting = Gauge("waiting_images", "Images that wait.", **options)
        self.held = Gauge("held_bytes", "Of requests in memory.", **options)
        self.version = Gauge("model_version", "That is served.", **options)

    def batch_done(self, images: int, seconds: float) -> None:
        """Counts a batch."""
        self.batches.observe(images)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All figures, in Prometheus's text format."""
        return generate_latest(self._registry)
