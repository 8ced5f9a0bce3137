"""Records -> batches, with tf.data: the one chain that training and evaluation use."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence

import psutil
import tensorflow as tf

from clouds import schema
from clouds.data import records
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.text import counted

_SHUFFLE = 1024
_READ_AT_ONCE = 8


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
    """Endless batches, in an order that is new each pass and follows from the seed.

    Args:
      folder: of the records.
      manifest: theirs.
      batch_size: images a batch; every batch is full.
      size: height and width wanted; the records' own if None.
      seed: of the order.
      first: the batch to begin with; those before it are passed over.
      cache: keeps the unpacked images: `memory`, or an empty folder to keep them in.
      host: which of the hosts this is, from 0.
      hosts: how many share out the images, each taking every hosts-th.

    Returns:
      Batches (images uint8[B, h, w, 3], masks uint8[B, h, w, C]).

    Raises:
      InputError: a host's part of the split is less than one batch, or the cache
        lacks the room for it.
    """
    examples = batch_size * steps(folder, manifest, batch_size, hosts=hosts)
    parse = _images_and_masks(manifest, size)

    def unpack(serialized: tf.data.Dataset) -> tf.data.Dataset:
        return serialized.map(parse, num_parallel_calls=tf.data.AUTOTUNE)

    def keep(serialized: tf.data.Dataset) -> tf.data.Dataset:
        _check_room(cache, examples, size or manifest.size)
        return unpack(serialized).cache("" if cache == "memory" else f"{cache}/train")

    source = (folder, manifest, first * batch_size, seed, host, hosts)
    shuffled = _shuffled(*source, keep, cache) if cache else unpack(_shuffled(*source))
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
    """The names of the images in one batch of `train_batches`.

    Args:
      folder: of the records.
      manifest: theirs.
      batch_size: as there, and so are the next.
      batch: the one wanted, from 0.
      seed: of the order.
      cache: as there; the order depends on it.
      host: as there.
      hosts: as there.

    Returns:
      Names, in the batch's order.
    """
    names = (
        _shuffled(
            folder,
            manifest,
            batch * batch_size,
            seed,
            host,
            hosts,
            keep=(lambda kept: kept) if cache else None,
            cache=cache,
        )
        .take(batch_size)
        .map(lambda serialized: records.parse(serialized, manifest)["name"])
    )
    return [name.decode() for name in names.as_numpy_iterator()]


def steps(folder: str, manifest: Manifest, batch_size: int, *, hosts: int = 1) -> int:
    """The full batches that a host takes from one pass over the training images.

    Args and errors: as `train_batches`.
    """
    examples = manifest.examples("train") // hosts
    if examples < batch_size:
        raise InputError(
            "--batch-size must not exceed the training images. Received: "
            f"{batch_size}, with {counted(examples, 'image')} in {folder}"
            f"{f' for each of {hosts} hosts' if hosts > 1 else ''}. Give a smaller one."
        )
    return examples // batch_size


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


def named_batches(
    folder: str,
    manifest: Manifest,
    split: str,
    names: Sequence[str],
    batch_size: int,
    *,
    size=None,
) -> tf.data.Dataset:
    """Batches of the images of a split that have these names, in the records' order.

    Returns:
      Batches of what `records.parse` returns; the other images are not decoded.
    """
    wanted = tf.constant(list(names), tf.string)

    def is_wanted(serialized: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(records.parse_name(serialized) == wanted)

    def parse(serialized: tf.Tensor) -> dict:
        return records.parse(serialized, manifest, size)

    return (
        _in_order(folder, manifest, split)
        .filter(is_wanted)
        .take(len(names))
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
    )


def test_batches(
    folder: str, manifest: Manifest, batch_size: int, *, size=None
) -> tf.data.Dataset:
    """Batches of unlabelled records, in their order.

    Returns:
      Batches of what `records.parse_image` returns.
    """

    def parse(serialized: tf.Tensor) -> dict:
        return records.parse_image(serialized, manifest, size)

    return _once(folder, manifest, "test", batch_size, parse)


def truth_batches(
    folder: str, manifest: Manifest, split: str, batch_size: int
) -> tf.data.Dataset:
    """Batches of a split's true masks alone, uint8[B, H, W, C]."""

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return records.parse_truth(serialized, manifest)

    return _once(folder, manifest, split, batch_size, parse)


@contextlib.contextmanager
def damage_named(folder: str, manifest: Manifest) -> Iterator[None]:
    """Makes of a read error within the context one that names the shard.

    Args:
      folder: of the records that are read within.
      manifest: theirs.

    Raises:
      InputError: a shard is damaged.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for shard in manifest.shards:
            for fault in records.faults(folder, manifest, shard):
                raise InputError(
                    f"Records must be as they were written. Received: {fault} It lies "
                    f"in {folder}. Copy the shard again, or make the records anew."
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
    folder, manifest, start, seed, host=0, hosts=1, keep=None, cache=None
) -> tf.data.Dataset:
    """Endless examples from the start-th on; a pass's order follows from its number."""
    examples = len(range(host, manifest.examples("train"), hosts))
    in_order = _in_order(folder, manifest, "train").shard(hosts, host)
    kept = keep(in_order) if keep else None

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        # Only of this function's graph. Without it the process's seed would count.
        tf.random.set_seed(seed + 1)
        once = {"seed": number, "reshuffle_each_iteration": False}
        if kept:
            # What lies on disk must not come into memory as a whole.
            return kept.shuffle(examples if cache == "memory" else _SHUFFLE, **once)
        if hosts > 1:
            # Every host must see the files in one order, to share the images out.
            return in_order.shuffle(_SHUFFLE, **once)
        return (
            _files(folder, manifest, "train")
            .shuffle(len(manifest.of_split("train")), **once)
            .interleave(tf.data.TFRecordDataset, cycle_length=_READ_AT_ONCE)
            .shuffle(_SHUFFLE, **once)
        )

    number, passed = divmod(start, examples)
    return tf.data.Dataset.range(number, tf.int64.max).flat_map(one_pass).skip(passed)


def _files(folder: str, manifest: Manifest, split: str) -> tf.data.Dataset:
    names = [f"{folder}/{shard.name}" for shard in manifest.of_split(split)]
    return tf.data.Dataset.from_tensor_slices(names)


def _in_order(folder: str, manifest: Manifest, split: str) -> tf.data.Dataset:
    return _files(folder, manifest, split).flat_map(tf.data.TFRecordDataset)


def _check_room(cache: str, examples: int, size: tuple[int, int]) -> None:
    needed = examples * size[0] * size[1] * (3 + len(schema.LABELS))
    if cache == "memory":
        free = psutil.virtual_memory().available
    else:
        free = shutil.disk_usage(cache).free
    if needed > 0.8 * free:
        raise InputError(
            f"--cache must fit into 80 % of the free room. Received: {cache}, with "
            f"{free / 1e9:.1f} GB free, for {needed / 1e9:.1f} GB of images. Leave it "
            "out, or give a folder on a larger disk."
        )


def _images_and_masks(manifest: Manifest, size):
    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = records.parse(serialized, manifest, size)
        return record["image"], record["masks"]

    return parse
