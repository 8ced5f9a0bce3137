"""Predicts scenes in tiles; each scene becomes one entry, as a smaller image does.

The network sees each tile as it sees an image. The probabilities of the tiles are
blended on the mosaic, whose cells are as large as those of the rule's grid in a tile,
and the rule is applied to the mosaic.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clouds.config.prediction import Prediction
from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.data.images import preprocessing
from clouds.geo.places import HOW, Places
from clouds.plots.false_colour import to_rgb
from clouds.postprocess import blockwise, ops
from clouds.postprocess.apply import presence_scores
from clouds.postprocess.blockwise import Block
from clouds.prediction import maps, writers
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.tiling import plan, scenes
from clouds.prediction.tiling.mosaic import Mosaic
from clouds.prediction.tiling.scenes import Scene, SceneError
from clouds.runs import network
from clouds.runtime import files, progress

FOLDER = "tiles.part"

_PICTURE_WIDTH = 1050


class Tiles:
    """Predicts scenes in tiles.

    Args:
      settings: tiles, memory and files to write.
      trained: settings of the run.
      rule: rule of the masks.
      model: network from `network.load`.
      places: places of the scenes, if any.
    """

    def __init__(
        self,
        settings: Prediction,
        trained: Training,
        rule: Rule,
        model: keras.Model,
        places: Places | None,
    ):
        """Keeps the arguments."""
        self._settings, self._trained, self._rule = settings, trained, rule
        self._model, self._out = model, Path(settings.out)
        self._spec = trained.spec
        self._places = places or Places({}, {})
        self._with_scores = settings.with_scores
        self._described = set()

    def predict(
        self, paths: Mapping[str, str], is_missing: Callable[[str], bool]
    ) -> Iterator[tuple[list[Entry], dict[str, str]]]:
        """Predicts scenes, from the last finished row of tiles of an earlier call.

        Args:
          paths: paths of the scenes by their names.
          is_missing: whether a scene is wanted, by its name.

        Yields:
          The entry of a scene, or the error by its name.
        """
        for name in filter(is_missing, paths):
            try:
                yield [self._predict_scene(name, paths[name])], {}
            except SceneError as error:
                yield [], {name: str(error)}

    def _predict_scene(self, name: str, path: str) -> Entry:
        folder = self._out / FOLDER / _key(name, path)
        folder.mkdir(parents=True, exist_ok=True)
        place = self._places.located.get(name)
        if self._settings.tile_degrees and place is None:
            fault = self._places.faults.get(name) or f"{path} has no place. {HOW}."
            raise SceneError(f"--tile-degrees: {fault} Or give --tile-pixels instead.")
        memory = self._settings.tile_memory
        bands = self._trained.bands
        with scenes.opened(path, folder / "pixels", memory, bands) as scene:
            tiles = plan.tiling(
                self._settings, self._spec.grid, path, scene.size, place and place.box
            )
            mosaic = Mosaic(folder / "rows", *tiles, len(self._spec.labels))
            missing = mosaic.missing()
            text = _describe(scene, tiles, missing)
            # Most scenes are alike.
            if text not in self._described:
                progress.write(f"{name}: {text}")
            self._described.add(text)
            count = len(tiles.columns)
            with progress.bar(
                desc=name,
                unit="tile",
                total=len(tiles.rows) * count,
                initial=(len(tiles.rows) - len(missing)) * count,
            ) as bar:
                for row in missing:
                    with mosaic.writing(row) as add:
                        self._predict_row(name, scene, tiles, row, add, bar.update)
        entry = self._apply_rule(name, mosaic, folder, wraps=tiles.columns.wraps)
        shutil.rmtree(folder)
        return entry

    def _predict_row(self, name, scene, tiles, row, add, advance) -> None:
        """Predicts a row of tiles, batch by batch."""
        rows, columns = tiles
        size = rows.tile_pixels, columns.tile_pixels
        step = self._settings.batch_size
        for first in range(0, len(columns), step):
            numbers = range(first, min(first + step, len(columns)))
            images = []
            for column in numbers:
                at = rows.window(row), columns.window(column)
                images.append(self._prepare(scenes.window(scene, *at, size)))
            images = np.stack(images)
            probabilities, class_scores = network.predict(self._model, images)
            names = [f"{name}, tile {column} of row {row}" for column in numbers]
            network.check_finite(names, probabilities, self._settings.run)
            parts = self._on_grid(probabilities, class_scores, images)
            for column, *part in zip(numbers, *parts, strict=True):
                add(column, *part)
            advance(len(numbers))

    def _prepare(self, window: np.ndarray) -> tf.Tensor:
        """Resizes a window as training did: to the size of its records, then on."""
        trained, exact = self._trained, self._trained.decode == "exact"
        with tf.device("CPU:0"):
            return preprocessing.resize_as_in_records(
                tf.constant(window), trained.size, trained.records_size, exact=exact
            )

    def _on_grid(self, probabilities, class_scores, images):
        """Returns probabilities, observed areas and scores on the rule's grid."""
        grid, (batch, *_, labels) = self._spec.grid, probabilities.shape
        planes = ops.resize_side_by_side(tf.constant(probabilities), grid)
        planes = planes.numpy().reshape(*grid, batch, labels)
        observed = ops.observed(tf.constant(images), grid).numpy()[..., 0]
        scores = np.zeros((batch, labels), np.float32)
        if self._with_scores or self._rule.presence is not None:
            scores = presence_scores(probabilities, grid, class_scores).numpy()
        return np.moveaxis(planes, 2, 0), observed, scores

    def _apply_rule(self, name: str, mosaic: Mosaic, folder: Path, *, wraps) -> Entry:
        """Turns a finished mosaic into an entry, and keeps what other files need."""
        settings, labels = self._settings, self._spec.labels
        blocks = mosaic.blocks(
            settings.tile_memory, with_scores=self._rule.presence is not None
        )
        if maps.needed(settings):
            blocks = _kept(
                blocks, maps.keeping(self._out, name, mosaic.size, len(labels))
            )
        if settings.probabilities:
            path = folder / "probabilities.npy"
            stored = files.mapped(path, (*mosaic.size, len(labels)), "float32")
            blocks = _stored(blocks, stored)
        text = blockwise.apply(blocks, self._rule, mosaic.size, wraps=wraps)
        if settings.probabilities:
            writers.probabilities(
                self._out, name, stored, settings.probabilities, labels
            )
        scores = None
        if self._with_scores:
            scores = mosaic.scores().max(axis=(0, 1)).astype(float).round(4).tolist()
        return Entry(
            image=name,
            plain=text.raw,
            cleaned=text.cleaned,
            scores=scores,
            grid=list(mosaic.size),
        )


def _kept(blocks: Iterable[Block], keeping) -> Iterator[Block]:
    """Keeps blocks for maps while they pass."""
    with keeping as keep:
        for block in blocks:
            keep(block)
            yield block


def _stored(blocks: Iterable[Block], stored: np.ndarray) -> Iterator[Block]:
    """Stores the probabilities of blocks while they pass."""
    first = 0
    for block in blocks:
        last = first + block.probabilities.shape[1]
        stored[:, first:last], first = block.probabilities, last
        yield block


def pictures(
    settings: Prediction,
    trained: Training,
    paths: Mapping[str, str],
    journal: Journal,
    selected: Iterable[str],
) -> Iterator[tuple[np.ndarray, Entry]]:
    """Yields scenes again, smaller and in colours, with their entries.

    Args:
      settings: folder and memory.
      trained: settings of the run.
      paths: paths of the scenes by their names.
      journal: entries of the scenes.
      selected: names of the scenes.
    """
    scratch = Path(settings.out) / FOLDER / "pixels"
    scratch.parent.mkdir(exist_ok=True)
    for entry in journal.entries(filter(set(selected).__contains__, paths)):
        height, width = entry.grid
        factor = -(-width // _PICTURE_WIDTH)
        size = max(1, height // factor), max(1, width // factor)
        path = paths[entry.image]
        memory, bands = settings.tile_memory, trained.bands
        with scenes.opened(path, scratch, memory, bands) as scene:
            small = scenes.thumbnail(scene, size)
        yield to_rgb(small, bands, trained.show_bands), entry


def clear(out: Path) -> None:
    """Removes the mosaics of unfinished scenes.

    Args:
      out: folder of the prediction.
    """
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _key(name: str, path: str) -> str:
    """Returns the folder of a scene; a file that has changed gets another."""
    facts = [name]
    if Path(path).is_file():
        status = Path(path).stat()
        facts += [status.st_size, status.st_mtime_ns]
    return hashlib.sha1(json.dumps(facts).encode()).hexdigest()


def _describe(scene: Scene, tiles: plan.Tiling, missing: list[int]) -> str:
    """Describes how a scene is predicted, for the user."""
    rows, columns = tiles
    text = (
        f"{scene.size[1]}x{scene.size[0]} pixels, {scene.how}; "
        f"{len(columns)}x{len(rows)} tiles{' around the globe' * columns.wraps}; masks "
        f"of {columns.cells}x{rows.cells} cells (width x height)."
    )
    if rows.padding or columns.padding:
        text += " The scene is smaller than a tile and is padded with black."
    if len(missing) < len(rows):
        text += f" Resuming after row {len(rows) - len(missing)} of tiles."
    return text
