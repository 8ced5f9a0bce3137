"""The tf.data pipeline from records to batches, for training and evaluation."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence

import psutil
import tensorflow as tf

from clouds.data import records
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.text import counted

_SHUFFLE = 1024
_FILES_INTERLEAVED = 8


def train_batches(
    folder: str,
    manifest: Manifest,
    batch_size: int,
    *,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    first: int = 0,
    cache: str | None = None,
    host: int = 0,
    hosts: int = 1,
) -> tf.data.Dataset:
    """Returns endless training batches, in a new order each epoch.

    Args:
      folder: folder of the records.
      manifest: manifest of the records.
      batch_size: number of images per batch; every batch is full.
      size: height and width to resize to; None keeps the size of the records.
      seed: random seed of the order.
      first: index of the first batch; those before it are skipped.
      cache: where to cache decoded images: `memory`, or an empty folder.
      host: index of this host, from 0.
      hosts: number of hosts that share the images.

    Returns:
      Batches (images [B, h, w, K] of the records' bands, masks uint8[B, h, w, C]). For
      records with `--vote soft`, masks are the shares of annotators, float32 in 0..1.

    Raises:
      InputError: a host's share of the split is smaller than one batch, or there is too
        little space for the cache.
    """
    examples = batch_size * steps(folder, manifest, batch_size, hosts=hosts)
    parse = _images_and_masks(manifest, size)
    if manifest.soft:
        parse = _images_and_shares(manifest, size)

    def decode(serialized: tf.data.Dataset) -> tf.data.Dataset:
        return serialized.map(parse, num_parallel_calls=tf.data.AUTOTUNE)

    def decode_and_cache(serialized: tf.data.Dataset) -> tf.data.Dataset:
        _check_cache_space(cache, examples, size or manifest.size, manifest)
        return decode(serialized).cache("" if cache == "memory" else f"{cache}/train")

    source = (folder, manifest, first * batch_size, seed, host, hosts)
    if cache:
        shuffled = _shuffled(*source, decode_and_cache, cache)
    else:
        shuffled = decode(_shuffled(*source))
    return shuffled.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def train_names(
    folder: str,
    manifest: Manifest,
    batch_size: int,
    batch: int,
    *,
    seed: int = 0,
    cache: str | None = None,
    host: int = 0,
    hosts: int = 1,
) -> list[str]:
    """Returns the names of the images in one batch of `train_batches`.

    Args:
      folder: as for `train_batches`.
      manifest: as for `train_batches`.
      batch_size: as for `train_batches`.
      batch: index of the batch, from 0.
      seed: as for `train_batches`.
      cache: as for `train_batches`; the order depends on it.
      host: as for `train_batches`.
      hosts: as for `train_batches`.
    """
    names = (
        _shuffled(
            folder,
            manifest,
            batch * batch_size,
            seed,
            host,
            hosts,
            prepare=(lambda serialized: serialized) if cache else None,
            cache=cache,
        )
        .take(batch_size)
        .map(lambda serialized: records.parse(serialized, manifest)["name"])
    )
    return [name.decode() for name in names.as_numpy_iterator()]


def steps(folder: str, manifest: Manifest, batch_size: int, *, hosts: int = 1) -> int:
    """Returns the number of full batches per epoch and host.

    Args and errors: as for `train_batches`.
    """
    examples = manifest.examples("train") // hosts
    if examples < batch_size:
        raise InputError(
            "--batch-size must not exceed the number of training images. Received: "
            f"{batch_size}, with {counted(examples, 'image')} in {folder}"
            f"{f' for each of {hosts} hosts' if hosts > 1 else ''}. Give a smaller one."
        )
    return examples // batch_size


def val_batches(
    folder: str, manifest: Manifest, batch_size: int, *, size=None
) -> tf.data.Dataset:
    """Returns the batches of the validation split; the last one may be smaller.

    Args and returns: as for `train_batches`.
    """
    parse = _images_and_masks(manifest, size)
    return _once(folder, manifest, "val", batch_size, parse)


def evaluation_batches(
    folder: str, manifest: Manifest, split: str, batch_size: int, *, size=None
) -> tf.data.Dataset:
    """Returns batches of all fields of a split (see `records.parse`), in order."""

    def parse(serialized: tf.Tensor) -> dict:
        return records.parse(serialized, manifest, size)

    return _once(folder, manifest, split, batch_size, parse)


def named_batches(
    folder: str,
    manifest: Manifest,
    split: str,
    names: Sequence[str],
    batch_size: int,
    *,
    size=None,
) -> tf.data.Dataset:
    """Returns batches of the named images of a split (see `records.parse`), in order.

    The other images are not decoded.
    """
    selected = tf.constant(list(names), tf.string)

    def is_selected(serialized: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(records.parse_name(serialized) == selected)

    def parse(serialized: tf.Tensor) -> dict:
        return records.parse(serialized, manifest, size)

    return (
        _in_order(folder, manifest, split)
        .filter(is_selected)
        .take(len(names))
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
    )


def test_batches(
    folder: str, manifest: Manifest, batch_size: int, *, size=None
) -> tf.data.Dataset:
    """Returns batches of unlabelled records (see `records.parse_image`), in order."""

    def parse(serialized: tf.Tensor) -> dict:
        return records.parse_image(serialized, manifest, size)

    return _once(folder, manifest, "test", batch_size, parse)


def train_images(folder: str, manifest: Manifest, batch_size: int) -> tf.data.Dataset:
    """Returns batches of the training images alone, in the size of the records."""

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return records.parse_image(serialized, manifest)["image"]

    return _once(folder, manifest, "train", batch_size, parse)


def truth_batches(
    folder: str, manifest: Manifest, split: str, batch_size: int
) -> tf.data.Dataset:
    """Returns batches of the true masks of a split, uint8[B, H, W, C]."""

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return records.parse_truth(serialized, manifest)

    return _once(folder, manifest, split, batch_size, parse)


@contextlib.contextmanager
def naming_damaged_shards(folder: str, manifest: Manifest) -> Iterator[None]:
    """Replaces a read error inside the block by one that names the damaged shard.

    Args:
      folder: folder of the records that are read.
      manifest: manifest of the records.

    Raises:
      InputError: a shard is damaged.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for shard in manifest.shards:
            if fault := records.check_shard(folder, manifest, shard)[1]:
                raise InputError(
                    f"Records in {folder} are damaged: {fault} Copy the shard again, "
                    "or make the records again."
                ) from error
        raise


def _once(folder, manifest, split, batch_size, parse) -> tf.data.Dataset:
    batches = -(-manifest.examples(split) // batch_size)
    return (
        _in_order(folder, manifest, split)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .apply(tf.data.experimental.assert_cardinality(batches))
        .prefetch(tf.data.AUTOTUNE)
    )


def _shuffled(
    folder, manifest, start, seed, host=0, hosts=1, prepare=None, cache=None
) -> tf.data.Dataset:
    """Returns endless examples; the order of an epoch depends on its number only."""
    examples = len(range(host, manifest.examples("train"), hosts))
    in_order = _in_order(folder, manifest, "train").shard(hosts, host)
    prepared = prepare(in_order) if prepare else None

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph only. Otherwise the process's seed would matter.
        tf.random.set_seed(seed + 1)
        once = {"seed": number, "reshuffle_each_iteration": False}
        if prepared:
            # A cache on disk may not fit into memory.
            return prepared.shuffle(examples if cache == "memory" else _SHUFFLE, **once)
        if hosts > 1:
            # All hosts must read the files in the same order to share the images.
            return in_order.shuffle(_SHUFFLE, **once)
        return (
            _files(folder, manifest, "train")
            .shuffle(len(manifest.of_split("train")), **once)
            .interleave(tf.data.TFRecordDataset, cycle_length=_FILES_INTERLEAVED)
            .shuffle(_SHUFFLE, **once)
        )

    number, skipped = divmod(start, examples)
    return tf.data.Dataset.range(number, tf.int64.max).flat_map(epoch).skip(skipped)


def _files(folder: str, manifest: Manifest, split: str) -> tf.data.Dataset:
    names = [f"{folder}/{shard.name}" for shard in manifest.of_split(split)]
    return tf.data.Dataset.from_tensor_slices(names)


def _in_order(folder: str, manifest: Manifest, split: str) -> tf.data.Dataset:
    return _files(folder, manifest, split).flat_map(tf.data.TFRecordDataset)


def _check_cache_space(
    cache: str, examples: int, size: tuple[int, int], manifest: Manifest
) -> None:
    per_mask = 4 if manifest.soft else 1
    per_pixel = manifest.bands.bytes_per_pixel + per_mask * len(manifest.labels)
    needed = examples * size[0] * size[1] * per_pixel
    if cache == "memory":
        free = psutil.virtual_memory().available
    else:
        free = shutil.disk_usage(cache).free
    if needed > 0.8 * free:
        raise InputError(
            f"--cache {cache} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB "
            "of images must fit into 80 % of it. Leave it out, or give a folder on a "
            "larger disk."
        )


def _images_and_masks(manifest: Manifest, size):
    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = records.parse(serialized, manifest, size)
        return record["image"], record["masks"]

    return parse


def _images_and_shares(manifest: Manifest, size):
    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = records.parse_image(serialized, manifest, size)["image"]
        return image, records.parse_shares(serialized, manifest, size)

    return parse
