"""The record format: one `tf.train.Example` an image, and its parser.

`tfrecords/README.md` lists the fields. Masks are kept as zlib-compressed
uint8[h, w] in which bit c is label c.
"""

import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow as tf

from clouds import schema
from clouds.data import image_files, preprocessing
from clouds.data.manifest import Manifest, Shard
from clouds.runtime import files
from clouds.text import counted

_JPEG_QUALITY = 95
_SPREAD = sum(1 << 7 * label for label in range(len(schema.LABELS)))
_FEET = 0x01010101


def examples(
    named: list[tuple[str, str]],
    masks: list[tuple[np.ndarray | None, np.ndarray | None]],
    *,
    size: tuple[int, int],
    exact: bool = False,
) -> list[bytes]:
    """Packs images and their masks.

    A JPEG of the records' size is kept as it is; any other file is decoded,
    resized and written as JPEG of quality 95, which is smaller than PNG and
    decodes faster.

    Args:
      named: each image's name and its file, as `images.find` gives it.
      masks: of each image uint8[h, w] at `size`, bit c set where label c is, and the
        same on the grid that predictions are judged on; None of one without labels.
      size: height and width of the records' images.
      exact: decode as the notebook does (see `pixels.decode`).

    Returns:
      A serialized `tf.train.Example` of each.

    Raises:
      InputError: a file is no image, or cut short.
    """
    files = [file for _, file in named]
    try:
        encoded, sizes = _encode_images(tf.constant(files), size, exact)
    except tf.errors.OpError:
        for file in files:
            _encode_alone(file, size, exact)
        raise
    return [
        _example(name, *fields)
        for (name, _), *fields in zip(
            named, encoded.numpy(), sizes.numpy(), masks, strict=True
        )
    ]


def compress(plane: np.ndarray) -> bytes:
    """Compresses the masks of an image, uint8[h, w], with zlib."""
    # Planes are painted down the columns: OpenCV turns them twice as fast as NumPy.
    rows = cv2.transpose(plane.T)
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return deflate.compress(rows) + deflate.flush()


def parse(serialized: tf.Tensor, manifest: Manifest, size=None) -> dict:
    """Unpacks a record, in a tf.data pipeline.

    Args:
      serialized: string[], what `example` returned.
      manifest: of the records.
      size: height and width wanted; the records' own if None.

    Returns:
      name string[], image uint8[h, w, 3], masks uint8[h, w, C] (resized by
      nearest pixels), truth uint8[H, W, C] on the manifest's `truth_size`.
    """
    masks = _unpack(_fields(serialized, "masks")["masks"], manifest.size)
    if size and tuple(size) != tuple(manifest.size):
        masks = tf.image.resize(masks, size, "nearest")
    return {
        **parse_image(serialized, manifest, size),
        "masks": masks,
        "truth": parse_truth(serialized, manifest),
    }


def parse_image(serialized: tf.Tensor, manifest: Manifest, size=None) -> dict:
    """Unpacks a record, with labels or without, to name and image as `parse` does."""
    fields = _fields(serialized, "name", "image")
    image, _ = preprocessing.decode(fields["image"], size or manifest.size)
    return {"name": fields["name"], "image": image}


def parse_name(serialized: tf.Tensor) -> tf.Tensor:
    """Unpacks the name alone of a record, string[]."""
    return _fields(serialized, "name")["name"]


def parse_truth(serialized: tf.Tensor, manifest: Manifest) -> tf.Tensor:
    """Unpacks a record's masks for evaluation, uint8[H, W, C] on `truth_size`."""
    return _unpack(_fields(serialized, "truth")["truth"], manifest.truth_size)


def faults(folder: str, manifest: Manifest, shard: Shard) -> Iterator[str]:
    """Reads a shard and says what is wrong with it.

    Args:
      folder: of the records.
      manifest: theirs.
      shard: one of the manifest's.

    Yields:
      A sentence a fault; none for a whole shard.
    """
    path = f"{folder}/{shard.name}"
    if not tf.io.gfile.exists(path):
        yield f"{shard.name} is not there."
        return
    if files.checksum(path) == shard.sha256:
        return
    unpack = parse if manifest.labelled else parse_image
    read = 0
    try:
        for serialized in tf.data.TFRecordDataset(path):
            unpack(serialized, manifest)
            read += 1
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = error.message.split("{{")[0].split("[Op")[0].strip()
        yield f"{shard.name} is damaged after record {read} ({reason})."
    else:
        yield (
            f"{shard.name} has {read} of {counted(shard.examples, 'record')} and "
            "another checksum than when it was written."
        )


@tf.function(reduce_retracing=True)
def _encode_images(files: tf.Tensor, size, exact) -> tuple[tf.Tensor, tf.Tensor]:
    """To string[B] of JPEGs and int32[B, 2], heights and widths in the files."""

    def encode(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        contents = image_files.read(file)
        image, original_size = preprocessing.decode(contents, size, exact=exact)
        encoded = tf.cond(
            tf.io.is_jpeg(contents) & tf.reduce_all(original_size == size),
            lambda: contents,
            lambda: tf.io.encode_jpeg(image, quality=_JPEG_QUALITY),
        )
        return encoded, original_size

    return tf.map_fn(
        encode,
        files,
        parallel_iterations=1,
        fn_output_signature=(tf.string, tf.int32),
    )


def _encode_alone(file: str, size, exact) -> None:
    try:
        _encode_images(tf.constant([file]), size, exact)
    except tf.errors.OpError as error:
        raise image_files.undecodable(file) from error


def _example(name: str, image: bytes, original_size, masks: tuple) -> bytes:
    features = {
        "name": _bytes(name.encode()),
        "image": _bytes(image),
        "original_size": tf.train.Feature(
            int64_list=tf.train.Int64List(value=original_size)
        ),
    }
    for field, plane in zip(("masks", "truth"), masks, strict=True):
        if plane is not None:
            features[field] = _bytes(compress(plane))
    packed = tf.train.Example(features=tf.train.Features(feature=features))
    return packed.SerializeToString(deterministic=True)


def _fields(serialized: tf.Tensor, *names: str) -> dict:
    text = tf.io.FixedLenFeature([], tf.string)
    return tf.io.parse_single_example(serialized, dict.fromkeys(names, text))


def _unpack(compressed: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    plane = tf.io.decode_raw(tf.io.decode_compressed(compressed, "ZLIB"), tf.uint8)
    plane = tf.cast(tf.reshape(plane, size), tf.uint32)
    # The product has bit c of a pixel at the foot of its byte c: eight times as fast
    # as testing each bit.
    return tf.bitcast(tf.bitwise.bitwise_and(plane * _SPREAD, _FEET), tf.uint8)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
