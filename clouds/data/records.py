"""The record format: one `tf.train.Example` per image, and its parser.

`tfrecords/README.md` lists the fields. Masks are stored as zlib-compressed integers
[h, w] in which bit c is label c: uint8, or uint16 or uint32 for more than 8 or 16
labels. Images in RGB are JPEGs; others are zlib-compressed values [h, w, K].
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from clouds import rle
from clouds.data.images import image_files, native, preprocessing
from clouds.data.manifest import Manifest, Shard
from clouds.errors import InputError
from clouds.runtime import files
from clouds.schema import RGB, Bands
from clouds.text import counted

_JPEG_QUALITY = 95
_ZLIB_LEVEL = 1
_REPORTED = 20
_BIT_TO_BYTE = sum(1 << 7 * label for label in range(4))
_LOWEST_BITS = 0x01010101


class Votes(NamedTuple):
    """Annotators of an image.

    Attributes:
      annotators: numbers of those who saw it.
      shares: uint8[h, w, C], share of them times 255 (see `votes.shares`); None if the
        masks are trained on.
    """

    annotators: list[int]
    shares: np.ndarray | None = None


def examples(
    named: list[tuple[str, str]],
    masks: list[tuple[np.ndarray | None, np.ndarray | None]],
    *,
    size: tuple[int, int],
    exact: bool = False,
    original_size: tuple[int, int] | None = None,
    bands: Bands = RGB,
    votes: Sequence[Votes | None] | None = None,
) -> list[bytes | InputError]:
    """Serializes images and their masks.

    A JPEG of the size of the records is kept as it is. Any other file is decoded,
    resized and encoded as JPEG of quality 95, 4:4:4, which is smaller than PNG and
    decodes faster. Images of other bands are compressed without loss.

    Args:
      named: name and path of each image, from `image_files.find`.
      masks: for each image the plane from `rle.resample` at `size`, and the same at
        the size on which predictions are evaluated; None without labels.
      size: height and width of the images in the records.
      exact: decode as the notebook does (see `preprocessing.decode`).
      original_size: height and width that all files must have, if any.
      bands: bands of the images; RGB converts any file.
      votes: annotators of each image; None for masks of another kind.

    Returns:
      A serialized `tf.train.Example` for each image, or the error of a file that cannot
      be read or decoded, or has another size.
    """
    paths = [path for _, path in named]
    if bands == RGB:
        images = _encode_all(paths, size, exact)
    else:
        images = (_encode_native(path, size, exact, bands) for path in paths)
    if original_size:
        images = (
            _check_size(path, image, original_size)
            for path, image in zip(paths, images, strict=True)
        )
    votes = votes or [None] * len(named)
    return [
        image if isinstance(image, InputError) else _example(name, *image, *planes)
        for (name, _), image, *planes in zip(named, images, masks, votes, strict=True)
    ]


def readable(results: Iterable[bytes | InputError]) -> Iterator[bytes]:
    """Yields serialized images, as long as all of them can be read.

    Args:
      results: results of `examples`.

    Raises:
      InputError: images cannot be read or decoded; it names all of them.
    """
    results = iter(results)
    for result in results:
        if isinstance(result, InputError):
            faults = [result, *(r for r in results if isinstance(r, InputError))]
            raise unconvertible(list(map(str, faults)))
        yield result


def unconvertible(faults: list[str]) -> InputError:
    """Returns one error for all images that cannot be converted."""
    if len(faults) == 1:
        return InputError(faults[0])
    shown = faults[:_REPORTED]
    more = f" And {len(faults) - len(shown)} more." * (len(shown) < len(faults))
    return InputError(
        f"{counted(len(faults), 'image')} cannot be converted: {' '.join(shown)}{more}"
    )


def compress(plane: np.ndarray) -> bytes:
    """Compresses a plane of masks, from `rle.resample`, with zlib."""
    # Planes are column-major: OpenCV transposes them twice as fast as NumPy, but has
    # no uint32.
    signed = plane.T.view(np.int32) if plane.dtype == np.uint32 else plane.T
    rows = cv2.transpose(signed)
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return deflate.compress(rows) + deflate.flush()


def parse(serialized: tf.Tensor, manifest: Manifest, size=None) -> dict:
    """Parses a record, in a tf.data pipeline.

    Args:
      serialized: string[], from `examples`.
      manifest: manifest of the records.
      size: height and width to resize to; None keeps the size of the records.

    Returns:
      name string[], image [h, w, K] of the manifest's bands, masks uint8[h, w, C]
      (pixels covered by half), truth uint8[H, W, C] at the manifest's `truth_size`.
    """
    labels = len(manifest.labels)
    masks = _unpack(_fields(serialized, "masks")["masks"], manifest.size, labels)
    if size and tuple(size) != tuple(manifest.size):
        # Nearest neighbours would shift masks by a quarter of a pixel at half the size.
        masks = tf.image.resize(tf.cast(masks, tf.float32), size, "area") >= 0.5
        masks = tf.cast(masks, tf.uint8)
    return {
        **parse_image(serialized, manifest, size),
        "masks": masks,
        "truth": parse_truth(serialized, manifest),
    }


def parse_shares(serialized: tf.Tensor, manifest: Manifest, size=None) -> tf.Tensor:
    """Parses the share of annotators of each pixel, float32[h, w, C] in 0..1.

    Args:
      serialized: string[], of records made with `--vote soft`.
      manifest: manifest of the records.
      size: height and width to resize to; None keeps the size of the records.
    """
    values = _fields(serialized, "shares")["shares"]
    values = tf.io.decode_raw(tf.io.decode_compressed(values, "ZLIB"), tf.uint8)
    values = tf.reshape(values, [*manifest.size, len(manifest.labels)])
    shares = tf.cast(values, tf.float32) / 255
    if size and tuple(size) != tuple(manifest.size):
        shares = tf.image.resize(shares, size, "area")
    return shares


def parse_image(serialized: tf.Tensor, manifest: Manifest, size=None) -> dict:
    """Parses only the name and the image of a record, with or without labels."""
    fields = _fields(serialized, "name", "image")
    if manifest.bands == RGB:
        image, _ = preprocessing.decode_as_in_records(
            fields["image"], size or manifest.size, manifest.size
        )
    else:
        names, dtype = manifest.bands
        values = tf.io.decode_compressed(fields["image"], "ZLIB")
        shape = [*manifest.size, len(names)]
        image = tf.reshape(tf.io.decode_raw(values, dtype), shape)
        image = preprocessing.resize(image, size or manifest.size)
    return {"name": fields["name"], "image": image}


def parse_name(serialized: tf.Tensor) -> tf.Tensor:
    """Parses only the name of a record, string[]."""
    return _fields(serialized, "name")["name"]


def parse_truth(serialized: tf.Tensor, manifest: Manifest) -> tf.Tensor:
    """Parses only the masks for evaluation, uint8[H, W, C] at `truth_size`."""
    truth = _fields(serialized, "truth")["truth"]
    return _unpack(truth, manifest.truth_size, len(manifest.labels))


def check_shard(
    folder: str, manifest: Manifest, shard: Shard
) -> tuple[list[str], str | None]:
    """Reads all records of a shard and describes what is wrong with it.

    Args:
      folder: folder of the records.
      manifest: manifest of the records.
      shard: a shard of the manifest.

    Returns:
      The names of its images, and a sentence with its fault; None for an intact shard.
    """
    path, names = f"{folder}/{shard.name}", []
    if not tf.io.gfile.exists(path):
        return names, f"{shard.name} is missing."
    parse_record = parse if manifest.labelled else parse_image
    try:
        for serialized in tf.data.TFRecordDataset(path):
            names.append(
                parse_record(serialized, manifest)["name"]
                .numpy()
                .decode(errors="replace")
            )
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = error.message.split("{{")[0].split("[Op")[0].strip()
        return names, f"{shard.name} is damaged after record {len(names)} ({reason})."
    total = counted(shard.examples, "record")
    if files.checksum(path) != shard.sha256:
        fault = f"{len(names)} of {total}, and its checksum has changed"
    elif len(names) != shard.examples:
        fault = f"{len(names)} records, and the manifest says {total}"
    else:
        return names, None
    return names, f"{shard.name} has {fault}."


@tf.function(reduce_retracing=True)
def _encode_images(paths: tf.Tensor, size, exact) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns JPEGs, string[B], and the sizes in the files, int32[B, 2]."""

    def encode(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        contents = image_files.read(path)
        image, original_size = preprocessing.decode(contents, size, exact=exact)
        encoded = tf.cond(
            tf.io.is_jpeg(contents) & tf.reduce_all(original_size == size),
            lambda: contents,
            lambda: tf.io.encode_jpeg(
                image, quality=_JPEG_QUALITY, chroma_downsampling=False
            ),
        )
        return encoded, original_size

    return tf.map_fn(
        encode,
        paths,
        parallel_iterations=1,
        fn_output_signature=(tf.string, tf.int32),
    )


def _encode_all(paths: list[str], size, exact) -> Iterable:
    try:
        encoded, sizes = _encode_images(tf.constant(paths), size, exact)
        return zip(encoded.numpy(), sizes.numpy(), strict=True)
    except tf.errors.OpError:
        return (_encode_one(path, size, exact) for path in paths)


def _encode_native(path: str, size, exact, bands) -> tuple[bytes, tuple] | InputError:
    try:
        image = native.load(path, bands)
    except InputError as error:
        return error
    resized = preprocessing.resize(image, size, exact=exact).numpy()
    return zlib.compress(resized.tobytes(), _ZLIB_LEVEL), image.shape[:2]


def _encode_one(path: str, size, exact) -> tuple[bytes, np.ndarray] | InputError:
    try:
        encoded, sizes = _encode_images(tf.constant([path]), size, exact)
    except tf.errors.OpError:
        return image_files.undecodable(path)
    return encoded.numpy()[0], sizes.numpy()[0]


def _check_size(path: str, image, expected) -> tuple[bytes, np.ndarray] | InputError:
    if isinstance(image, InputError) or tuple(image[1]) == tuple(expected):
        return image
    return InputError(
        f"{path} has {image[1][0]}x{image[1][1]} pixels, and runs are counted on "
        f"{expected[0]}x{expected[1]}, the size of the first image. Give the grid of "
        "all runs with --grid."
    )


def _example(
    name: str, image: bytes, original_size, masks: tuple, votes: Votes | None
) -> bytes:
    features = {
        "name": _bytes(name.encode()),
        "image": _bytes(image),
        "original_size": _integers(original_size),
    }
    if votes:
        features["annotators"] = _integers(votes.annotators)
        if votes.shares is not None:
            shares = zlib.compress(votes.shares.tobytes(), _ZLIB_LEVEL)
            features["shares"] = _bytes(shares)
    for field, plane in zip(("masks", "truth"), masks, strict=True):
        if plane is not None:
            features[field] = _bytes(compress(plane))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _fields(serialized: tf.Tensor, *names: str) -> dict:
    text = tf.io.FixedLenFeature([], tf.string)
    return tf.io.parse_single_example(serialized, dict.fromkeys(names, text))


def _unpack(compressed: tf.Tensor, size: tuple[int, int], labels: int) -> tf.Tensor:
    dtype = rle.plane_dtype(labels).name
    # There is no `decode_raw` to uint32.
    dtype = "int32" if dtype == "uint32" else dtype
    plane = tf.io.decode_raw(tf.io.decode_compressed(compressed, "ZLIB"), dtype)
    plane = tf.cast(tf.reshape(plane, size), tf.uint32)
    # The product moves bit c of four to the lowest bit of byte c, eight times as fast
    # as testing each bit.
    groups = [
        tf.bitcast(tf.bitwise.bitwise_and(group * _BIT_TO_BYTE, _LOWEST_BITS), tf.uint8)
        for group in _groups_of_four(plane, labels)
    ]
    masks = groups[0] if len(groups) == 1 else tf.concat(groups, -1)
    return masks if labels % 4 == 0 else masks[..., :labels]


def _groups_of_four(plane: tf.Tensor, labels: int):
    if labels <= 4:
        return [plane]
    shifted = (tf.bitwise.right_shift(plane, np.uint32(k)) for k in range(0, labels, 4))
    return [tf.bitwise.bitwise_and(bits, np.uint32(15)) for bits in shifted]


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integers(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
