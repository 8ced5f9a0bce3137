"""Records -> batches, with tf.data: the one chain that training and evaluation use."""

import tensorflow as tf

from clouds import records
from clouds.errors import InputError
from clouds.manifest import Manifest

_SHUFFLE = 1024
_READ_AT_ONCE = 8


def train_batches(
    folder: str, manifest: Manifest, batch_size: int, *, size=None, seed: int = 0
) -> tf.data.Dataset:
    """Endless batches in an order that is new each epoch.

    Args:
      folder: of the records.
      manifest: theirs.
      batch_size: images a batch; every batch is full.
      size: height and width wanted; the records' own if None.
      seed: of the order.

    Returns:
      Batches (images uint8[B, h, w, 3], masks uint8[B, h, w, C]).

    Raises:
      InputError: the split holds less than one batch.
    """
    if manifest.examples("train") < batch_size:
        raise InputError(
            "--batch-size must not exceed the training images. Received: "
            f"{batch_size}, with {manifest.examples('train')} images in {folder}. "
            "Give a smaller one."
        )
    return (
        _files(folder, manifest, "train")
        .shuffle(len(manifest.of_split("train")), seed=seed)
        .interleave(tf.data.TFRecordDataset, cycle_length=_READ_AT_ONCE)
        .shuffle(_SHUFFLE, seed=seed)
        .repeat()
        .map(_images_and_masks(manifest, size), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def val_batches(
    folder: str, manifest: Manifest, batch_size: int, *, size=None
) -> tf.data.Dataset:
    """Batches of the validation split, once each, the last one maybe smaller.

    Args and returns: as `train_batches`.
    """
    parse = _images_and_masks(manifest, size)
    return _once(folder, manifest, "val", batch_size, parse)


def evaluation_batches(
    folder: str, manifest: Manifest, split: str, batch_size: int, *, size=None
) -> tf.data.Dataset:
    """Batches of a split with all that its records hold, in the records' order.

    Returns:
      Batches of what `records.parse` returns.
    """

    def parse(serialized: tf.Tensor) -> dict:
        return records.parse(serialized, manifest, size)

    return _once(folder, manifest, split, batch_size, parse)


def truth_batches(
    folder: str, manifest: Manifest, split: str, batch_size: int
) -> tf.data.Dataset:
    """Batches of a split's true masks alone, uint8[B, H, W, C]."""

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return records.parse_truth(serialized, manifest)

    return _once(folder, manifest, split, batch_size, parse)


def _once(folder, manifest, split, batch_size, parse) -> tf.data.Dataset:
    batches = -(-manifest.examples(split) // batch_size)
    return (
        _files(folder, manifest, split)
        .flat_map(tf.data.TFRecordDataset)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .apply(tf.data.experimental.assert_cardinality(batches))
        .prefetch(tf.data.AUTOTUNE)
    )


def _files(folder: str, manifest: Manifest, split: str) -> tf.data.Dataset:
    names = [f"{folder}/{shard.name}" for shard in manifest.of_split(split)]
    return tf.data.Dataset.from_tensor_slices(names)


def _images_and_masks(manifest: Manifest, size):
    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = records.parse(serialized, manifest, size)
        return record["image"], record["masks"]

    return parse
