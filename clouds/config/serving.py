"""Settings of the server of an exported model, and of its client."""

from dataclasses import dataclass
from typing import Annotated

from clouds.config.checks import check, check_apart, check_box, not_negative, positive
from clouds.config.fields import (
    IMAGES_ASKED,
    Box,
    File,
    Form,
    LocalFolder,
    Name,
    Places,
    flag,
)
from clouds.errors import InputError

Host = Annotated[str, Form("ADDRESS", "an address")]
Server = Annotated[str, Form("ADDRESS:PORT", "an address and a port, or a URL")]

_PORTS = 65536


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Serves an exported model over TensorFlow Serving's REST API, with a web page.

    Example:
      bin/serve --model models/clouds
      curl --data-binary @shot.jpg http://localhost:8501/v1/images
    """

    model: LocalFolder = flag(
        "folder with the versions of a model, from bin/export; the highest version is "
        "served, and replaced when a higher one appears",
        section="model",
    )
    name: Name = flag("name of the model in URLs: /v1/models/NAME", "clouds")
    poll_interval: float = flag(
        "seconds between checks for new versions", 10, renamed_from="poll"
    )

    host: Host = flag(
        "address to listen on; 0.0.0.0 accepts other machines",
        "127.0.0.1",
        section="network",
    )
    port: int = flag("port to listen on; 0 picks a free one", 8501)
    max_connections: int = flag(
        "maximum number of open connections; further ones get HTTP 503",
        256,
        renamed_from="connections",
    )
    request_timeout: float = flag(
        "maximum seconds to receive the body of a request; slower ones get HTTP 408",
        60,
        renamed_from="patience",
    )
    shutdown_timeout: float = flag(
        "maximum seconds for open requests to finish after SIGTERM",
        30,
        renamed_from="grace",
    )

    max_batch: int = flag(
        "maximum images per batch; 1 disables batching", 16, section="work"
    )
    batch_timeout: float = flag(
        "maximum milliseconds to wait for a batch to fill", 5, renamed_from="max_wait"
    )
    max_queue: int = flag("maximum images in the queue; further ones get HTTP 429", 128)

    max_body: float = flag(
        "maximum megabytes per request; larger ones get HTTP 413", 32, section="limits"
    )
    max_memory: float = flag(
        "maximum megabytes of all open requests together; further ones get HTTP 503",
        512,
    )
    max_images: int = flag(
        "maximum images per request; larger requests get HTTP 413", 64
    )
    max_pixels: float = flag(
        "maximum megapixels per image; larger ones are refused", 50
    )
    max_total_pixels: float = flag(
        "maximum megapixels of all images in open requests; further ones get HTTP 429",
        500,
    )

    def __post_init__(self):
        """Rejects values out of range, and limits that contradict each other."""
        positive(self, "poll_interval", "max_connections", "request_timeout")
        positive(self, "max_batch", "max_queue", "max_images")
        positive(self, "max_body", "max_memory", "max_pixels", "max_total_pixels")
        not_negative(self, "port", "shutdown_timeout", "batch_timeout")
        check(self, ("port",), f"must be below {_PORTS}", lambda port: port < _PORTS)
        for part, total in (
            ("max_images", "max_queue"),
            ("max_body", "max_memory"),
            ("max_pixels", "max_total_pixels"),
        ):
            if (value := getattr(self, part)) > (bound := getattr(self, total)):
                raise InputError(
                    f"--{part.replace('_', '-')} must not exceed "
                    f"--{total.replace('_', '-')}. Received: {value:g} and {bound:g}. "
                    "The server would always refuse such a request."
                )


@dataclass(frozen=True, kw_only=True)
class Request:
    """Requests masks of images from a server; resumes if interrupted.

    Images without a response have no rows; unreadable.txt gives the reasons, and the
    exit code is 3. The same command then retries only these, provided that the server
    still has the same version of the model. A complete folder is left unchanged.

    Example:
      bin/request --images test_images --out masks
      bin/request --images a.jpg https://host/b.jpg --out masks --geojson
      bin/request --server host:8500 --grpc --images shots.zip --out masks
    """

    images: Places = flag(IMAGES_ASKED, section="images")
    out: LocalFolder = flag("folder for submission_post.csv and the other files")
    overwrite: bool = flag("replace the files in the folder", False)

    server: Server | None = flag(
        "address of bin/serve or TensorFlow Serving (default: localhost:8501, or "
        "localhost:8500 with --grpc)",
        None,
        section="server",
    )
    grpc: bool = flag(
        "use gRPC instead of REST; TensorFlow Serving supports it, bin/serve does not",
        False,
    )
    name: Name = flag("name of the model on the server", "clouds")
    model_version: int | None = flag(
        "version of the model (default: the server's latest)", None
    )
    batch_size: int = flag("images per request", 8)
    concurrency: int = flag("maximum number of concurrent requests", 2)
    deadline: float = flag("seconds per request, including retries", 120)
    retries: int = flag("retries if the server is busy or unreachable", 5)

    overlays: int = flag(
        "number of images to draw in overlays.png, with their masks", 8, section="files"
    )
    geojson: bool = flag("write the masks as polygons to masks.geojson", False)
    bbox: Box | None = flag(
        "bounding box of images without another place, for --geojson: west, south, "
        "east, north in degrees, such as --bbox=-61,5,-40,19 (default: polygons in "
        "pixels)",
        None,
    )
    places: File | None = flag(
        "csv of bounding boxes for --geojson, with columns "
        "image,time,west,south,east,north (default: from GeoTIFF tags, world files or "
        "names)",
        None,
    )

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "batch_size", "concurrency", "deadline")
        not_negative(self, "retries", "overlays")
        check_apart(self.out, *self.images)
        if self.bbox:
            check_box(self.bbox)
            if not self.geojson:
                raise InputError("--bbox must be used with --geojson. Add it.")
        if self.places and not self.geojson:
            raise InputError("--places must be used with --geojson. Add it.")
