"""Settings of serving an exported model, and of asking a server."""

from dataclasses import dataclass
from typing import Annotated

from clouds.config.fields import (
    IMAGES_ASKED,
    Box,
    Form,
    LocalFolder,
    Places,
    check,
    flag,
    not_negative,
    positive,
)
from clouds.config.prediction import apart, on_earth
from clouds.errors import InputError

Name = Annotated[str, Form("NAME", "a name")]
Host = Annotated[str, Form("ADDRESS", "an address")]
Server = Annotated[str, Form("ADDRESS:PORT", "an address and a port, or a URL")]

_PORTS = 65536


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Serves an exported model over HTTP, as TensorFlow Serving does, with a web page.

    Example:
      bin/serve --model models/clouds
      curl --data-binary @shot.jpg http://localhost:8501/v1/images
    """

    model: LocalFolder = flag(
        "folder of a model's versions, as bin/export writes them; the highest is "
        "served, also one that comes later",
        section="model",
    )
    name: Name = flag("of the model in the paths, /v1/models/NAME", "clouds")
    poll: float = flag("seconds between looks for a new version", 10)

    host: Host = flag(
        "to listen at; 0.0.0.0 lets other machines in", "127.0.0.1", section="network"
    )
    port: int = flag("to listen at; 0 for any that is free", 8501)
    connections: int = flag("open at a time; what comes above is told 503", 256)
    patience: float = flag(
        "seconds in which a request must have come, or an answer been read", 60
    )
    grace: float = flag("seconds that requests have to end after SIGTERM", 30)

    max_batch: int = flag(
        "images that the model is given at a time; 1 gathers none", 16, section="work"
    )
    max_wait: float = flag("milliseconds in which a batch is gathered", 5)
    max_queue: int = flag("images that wait; what comes above is told 429", 128)

    max_body: float = flag(
        "megabytes of a request; more is told 413", 32, section="limits"
    )
    max_memory: float = flag(
        "megabytes of all requests at a time; what comes above is told 503", 512
    )
    max_images: int = flag("of a request", 64)
    max_pixels: float = flag("millions, of an image", 50)

    def __post_init__(self):
        """Refuses values out of range, and limits that contradict each other."""
        positive(self, "poll", "connections", "patience", "max_batch", "max_queue")
        positive(self, "max_body", "max_memory", "max_images", "max_pixels")
        not_negative(self, "port", "grace", "max_wait")
        check(self, ("port",), f"must be below {_PORTS}", lambda port: port < _PORTS)
        if self.max_images > self.max_queue:
            raise InputError(
                "--max-images must be --max-queue at most. Received: "
                f"{self.max_images}, of {self.max_queue}. Such a request would never "
                "be let in."
            )
        if self.max_body > self.max_memory:
            raise InputError(
                "--max-body must be --max-memory at most. Received: "
                f"{self.max_body:g}, of {self.max_memory:g}. Such a request would "
                "never be let in."
            )


@dataclass(frozen=True, kw_only=True)
class Request:
    """Asks a server for the masks of images, and writes them; goes on if cut off.

    What is not answered has no rows, unreadable.txt says why, and the exit code is 3.
    The same command asks about that alone, if the server has the same version of the
    model still; it leaves a finished folder as it is.

    Example:
      bin/request --images test_images --out found
      bin/request --images a.jpg https://host/b.jpg --out found --geojson
      bin/request --server host:8500 --grpc --images shots.zip --out found
    """

    images: Places = flag(IMAGES_ASKED, section="images")
    out: LocalFolder = flag("folder for submission_post.csv and the rest")
    overwrite: bool = flag("replace what the folder holds", False)

    server: Server | None = flag(
        "bin/serve or TensorFlow Serving; if not given, localhost:8501, or with --grpc "
        "localhost:8500",
        None,
        section="server",
    )
    grpc: bool = flag(
        "ask by gRPC, not by REST; TensorFlow Serving has it, bin/serve does not", False
    )
    name: Name = flag("of the model there", "clouds")
    model_version: int | None = flag("a number; the server's latest if not given", None)
    batch_size: int = flag("images a request", 8)
    concurrency: int = flag("requests at a time", 2)
    deadline: float = flag("seconds for a request, with all its attempts", 120)
    retries: int = flag("attempts more where the server is busy or out of reach", 5)

    overlays: int = flag(
        "images to draw in overlays.png, with their masks", 8, section="files"
    )
    geojson: bool = flag("write masks as polygons, to masks.geojson", False)
    bbox: Box | None = flag(
        "west, south, east and north of each image in degrees, for --geojson, as in "
        "--bbox=-61,5,-40,19; pixels if not given",
        None,
    )

    def __post_init__(self):
        """Refuses values out of range."""
        positive(self, "batch_size", "concurrency", "deadline")
        not_negative(self, "retries", "overlays")
        apart(self.out, *self.images)
        if self.bbox:
            on_earth(self.bbox)
            if not self.geojson:
                raise InputError("--bbox must go with --geojson. Add it.")
