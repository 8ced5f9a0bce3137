"""Settings of the commands that use a trained run or check its predictions."""

from dataclasses import dataclass
from typing import Literal

from clouds import schema
from clouds.config.checks import (
    check,
    check_apart,
    check_box,
    not_negative,
    positive,
)
from clouds.config.fields import (
    IMAGES,
    Box,
    CsvFormat,
    Degrees,
    File,
    Folder,
    LocalFile,
    LocalFolder,
    LocalFolders,
    Pixels,
    Place,
    Size,
    Split,
    flag,
    positional,
)
from clouds.config.masks import BatchedMasks, Masks
from clouds.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Evaluation(BatchedMasks):
    """Evaluates a run on labelled records, compared with trivial baselines.

    Example:
      bin/evaluate --records tfrecords/clouds --run runs/first --tune
      bin/evaluate --records tfrecords/folds --run runs/fold0 runs/fold1 --tune
    """

    run: LocalFolders = flag(
        "folder of a run, or of several: runs of the same fold are averaged; of runs "
        "of different folds, each predicts the images of its own fold",
        section="network",
    )
    records: Folder = flag("folder of the records")
    split: Split = flag("split to evaluate on", "val")
    tune: bool = flag(
        "first tune the post-processing rule on these images (threshold, minimum area, "
        "peak threshold and presence threshold of each label), and store it in the run",
        False,
    )
    out: LocalFolder | None = flag(
        "output folder for the metrics (default: the folder of the first run)", None
    )

    def __post_init__(self):
        """Rejects values out of range, and flags that contradict --tune."""
        super().__post_init__()
        if not self.tune:
            return
        if self.split != "val":
            raise InputError(
                "--tune must be used with --split val, on images that the run was not "
                f"trained on. Received: --split {self.split}. Leave it out."
            )
        names = ("threshold", "min_area", "peak_threshold", "presence", "clean_on")
        for name in (*names, "force_best"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} cannot be combined with --tune, which "
                    "chooses the numbers of the rule on the submission's grid. Leave "
                    "it out."
                )


@dataclass(frozen=True, kw_only=True)
class Prediction(BatchedMasks):
    """Predicts the masks of images and writes raw and post-processed submissions.

    The same command resumes an interrupted prediction. An image that cannot be read
    gets no rows: unreadable.txt gives the reason, and the exit code is 3. The same
    command then retries only these images; a complete folder is left unchanged.
    If some images have a location and others do not, unplaced.txt lists the others.
    GeoJSON in pixels, PNG masks and COCO annotations are on the submission's grid.

    Example:
      bin/predict --run runs/first --images test_images --out runs/first/test
      bin/predict --run runs/first --images 'shots/**/*.jpg' --out found --geojson
    """

    images: Place | None = flag(IMAGES, None)
    records: Folder | None = flag(
        "folder of records made with --unlabelled, instead of --images", None
    )
    sample_submission: File | None = flag(
        "csv that selects the images and gives the order of the rows", None
    )
    submission_format: CsvFormat | None = flag(
        "columns of the submissions: image_label for Image_Label,EncodedPixels; "
        "image_class for ImageId,ClassId,EncodedPixels; image for "
        "ImageId,EncodedPixels, with one label (default: those of the sample "
        "submission, or image_label)",
        None,
    )
    out: LocalFolder = flag(
        "output folder for submission.csv, submission_post.csv and other files"
    )
    overwrite: bool = flag("replace the predictions in the folder", False)

    tile_degrees: Degrees | None = flag(
        "predict each image in overlapping tiles of this width x height in degrees, "
        "such as 21x14, that the network sees one by one (default: each image as a "
        "whole)",
        None,
        section="large scenes",
    )
    tile_pixels: Pixels | None = flag(
        "the same with the width x height in pixels of the images, such as 2100x1400",
        None,
    )
    overlap: float = flag(
        "least part of a tile that its neighbour covers too, below 1; probabilities "
        "are blended there",
        0.5,
    )
    tile_memory: int = flag(
        "megabytes for the pixels and probabilities of a scene in tiles; the network "
        "needs memory besides",
        512,
    )

    overlays: int = flag(
        "number of images to draw in overlays.png, with their post-processed masks",
        8,
        section="files",
    )
    probabilities: Literal["npz", "png"] | None = flag(
        "also write probabilities at the network's size: npz (float16), or one grey "
        "png per label",
        None,
    )
    masks: bool = flag("write post-processed masks as black-and-white PNGs", False)
    geojson: bool = flag("write post-processed masks as polygons, masks.geojson", False)
    bbox: Box | None = flag(
        "bounding box of images whose location is not known otherwise, for polygons "
        "and maps: west, south, east, north in degrees, such as "
        "--bbox=-61,5,-40,19 (default: polygons in pixels if no image has a location)",
        None,
    )
    places: File | None = flag(
        "csv of the images' locations in degrees, for polygons and maps: "
        "image,time,west,south,east,north, and optionally satellite (default: GeoTIFF "
        "tags, world files, names such as "
        "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg, then --bbox)",
        None,
    )
    netcdf: LocalFile | None = flag(
        "NetCDF file (CF-1.11) to write or replace: probabilities, masks and the "
        "observed area by time, latitude, longitude and pattern; all images must have "
        "the same bounding box and size, and different times; needs bin/setup geo",
        None,
    )
    zarr: LocalFolder | None = flag(
        "Zarr store (CF-1.11) to start or to append to, with the contents of --netcdf; "
        "images whose maps it has already are left out; needs bin/setup geo",
        None,
    )
    geotiff: bool = flag(
        "write post-processed masks as cloud-optimised GeoTIFFs, one band per label; "
        "needs bin/setup geo",
        False,
    )
    geoparquet: bool = flag(
        "write post-processed masks as polygons, masks.parquet (GeoParquet); needs "
        "bin/setup geo",
        False,
    )
    coco: bool = flag(
        "write post-processed masks as COCO annotations, coco.json", False
    )

    def __post_init__(self):
        """Rejects values out of range, and two sources of images."""
        super().__post_init__()
        not_negative(self, "overlays")
        if bool(self.images) == bool(self.records):
            raise InputError("Either --images or --records must be given.")
        check_apart(self.out, self.images)
        if self.records and self.sample_submission:
            raise InputError(
                "--sample-submission cannot be combined with --records, which have "
                "their own order."
            )
        self._check_places()
        self._check_tiles()

    @property
    def in_tiles(self) -> bool:
        """Whether each image is predicted in tiles."""
        return bool(self.tile_degrees or self.tile_pixels)

    @property
    def series(self) -> dict[str, str]:
        """Flags and paths of files with the maps of all images, by time."""
        paths = {"--netcdf": self.netcdf, "--zarr": self.zarr}
        return {flag: path for flag, path in paths.items() if path}

    @property
    def located(self) -> list[str]:
        """Flags of the files that need the places of the images."""
        flags = {"--geotiff": self.geotiff, "--geoparquet": self.geoparquet}
        return [*self.series, *(flag for flag, given in flags.items() if given)]

    @property
    def with_scores(self) -> bool:
        """Whether a file has the presence scores of the masks."""
        return bool(self.geojson or self.coco or self.geoparquet)

    @property
    def needs_places(self) -> bool:
        """Whether something is made of the places of the images."""
        return bool(self.geojson or self.located or self.tile_degrees)

    def _check_places(self) -> None:
        if self.bbox:
            check_box(self.bbox)
        for name in ("bbox", "places"):
            if getattr(self, name) and not (self.needs_places or self.in_tiles):
                raise InputError(
                    f"--{name} must be used with --geojson, --geoparquet, --netcdf, "
                    "--zarr, --geotiff or tiles. Add one."
                )
        if self.located and self.records:
            raise InputError(
                f"{self.located[0]} must be used with --images; of records, only "
                "GeoJSON can be written. Received: --records."
            )

    def _check_tiles(self) -> None:
        check(self, ("overlap",), "must be from 0 to 0.9", lambda x: 0 <= x <= 0.9)
        positive(self, "tile_memory")
        if not self.in_tiles:
            return
        if self.tile_degrees and self.tile_pixels:
            raise InputError(
                "Only one of --tile-degrees and --tile-pixels can be given. Leave one "
                "out."
            )
        positive(self, "tile_degrees" if self.tile_degrees else "tile_pixels")
        if self.records:
            raise InputError(
                "Tiles must be used with --images, since records keep images at the "
                "size of the network. Received: --records."
            )


@dataclass(frozen=True, kw_only=True)
class Export(Masks):
    """Exports a run for TensorFlow Serving: JPEG bytes in, run-length codes out.

    Example:
      bin/export --run runs/first --out models/clouds
    """

    out: LocalFolder = flag(
        "output folder of the model; the export becomes its next version"
    )
    precision: Literal["float32", "mixed_bfloat16"] | None = flag(
        "precision of the network; mixed_bfloat16 takes half the space, and half the "
        "time on a CPU with bfloat16 instructions (default: that of the training, "
        "which bin/predict uses too)",
        None,
    )


@dataclass(frozen=True, kw_only=True)
class SubmissionCheck:
    """Checks the rows, order and run-length codes of a submission; lists all errors.

    Example:
      bin/submit-check runs/first/test/submission_post.csv
    """

    file: File = positional("csv of the submission, not compressed")
    sample_submission: File | None = flag(
        "csv with the rows that it must have, in the same order", None
    )
    submission_format: CsvFormat | None = flag(
        "format of the csv (default: that of the sample submission, or image_label)",
        None,
    )
    grid: Size = flag("height x width of the masks", schema.SUBMISSION_SIZE)

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "grid")
