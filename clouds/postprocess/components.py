"""Connected components of masks, computed from the runs of their columns (TensorFlow).

Masks are bool[B, H, W, C] and planes bool[N, H, W]; plane n of a batch of masks is
label n % C of image n // C. Columns are uint8[B, C, W, K], eight rows per byte from its
lowest bit, so that a batch shrinks eightfold before it is transposed. Runs are int32
vectors, in the order plane, column, row. A batch, with an additional row and column per
plane, may have at most 2**31 - 1 pixels.
"""

from typing import NamedTuple

import tensorflow as tf

from clouds.errors import InputError

_BITS = tuple(1 << bit for bit in range(8))


class Runs(NamedTuple):
    """Runs of set pixels in the columns of masks, each int32[R].

    Attributes:
      plane: plane of the run.
      column: column of the run.
      start: first row.
      end: row after the last.
    """

    plane: tf.Tensor
    column: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def pack(masks: tf.Tensor) -> tf.Tensor:
    """Packs masks into columns, eight rows per byte.

    Args:
      masks: bool[B, H, W, C].

    Returns:
      uint8[B, C, W', H // 8 + 1], where W' is W rounded up to a multiple of 8.
      The last byte of a column has an empty bit, in which its last run ends.
    """
    batch, height, width, labels = tf.unstack(tf.shape(masks))
    strips, wide = height // 8 + 1, (width + 7) // 8 * 8
    padding = [[0, 0], [0, 8 * strips - height], [0, wide - width], [0, 0]]
    pixels = tf.cast(tf.pad(masks, padding), tf.uint8)
    # Eight pixels of a row share a word, so that eight rows sum as one.
    words = tf.reshape(pixels, [batch, strips, 8, wide // 8 * labels, 8])
    words = tf.bitcast(words, tf.int64)
    words = tf.reduce_sum(words * tf.constant(_BITS, tf.int64)[:, None], axis=2)
    rows = tf.reshape(tf.bitcast(words, tf.uint8), [batch, strips, wide, labels])
    return tf.transpose(rows, [0, 3, 2, 1])


def unpack(columns: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Unpacks columns into masks: the inverse of `pack`.

    Args:
      columns: uint8[B, C, W', K].
      size: (height, width) of the masks.

    Returns:
      bool[B, height, width, C].
    """
    batch, labels, wide, strips = tf.unstack(tf.shape(columns))
    rows = tf.transpose(columns, [0, 3, 2, 1])
    words = tf.reshape(rows, [batch, strips, 1, wide // 8 * labels, 8])
    words = tf.bitcast(words, tf.int64)
    shifts = tf.range(8, dtype=tf.int64)[:, None]
    words = tf.bitwise.right_shift(words, shifts)
    words = tf.bitwise.bitwise_and(words, tf.constant(0x0101010101010101, tf.int64))
    pixels = tf.reshape(tf.bitcast(words, tf.uint8), [batch, 8 * strips, wide, labels])
    return tf.cast(pixels[:, : size[0], : size[1]], tf.bool)


def runs(columns: tf.Tensor) -> Runs:
    """Lists the runs of packed columns.

    Args:
      columns: uint8[B, C, W, K], from `pack`.

    Returns:
      `Runs`, in the order plane, column, row.
    """
    _, _, width, strips = tf.unstack(tf.shape(columns))
    words = tf.bitcast(tf.reshape(columns, [-1, 8]), tf.uint64)
    above = tf.bitwise.left_shift(words, tf.constant(1, tf.uint64))
    carried = tf.bitwise.right_shift(words, tf.constant(63, tf.uint64))
    carried = tf.concat([tf.zeros([1], tf.uint64), carried], 0)[:-1]
    edges = tf.reshape(tf.bitcast(words ^ (above | carried), tf.uint8), [-1])
    # Most bytes have no edge: two sparse passes cost less than one over all bits.
    bytes_ = tf.where(edges)[:, 0]
    bits = tf.where(tf.gather(edges, bytes_)[:, None] & tf.constant(_BITS, tf.uint8))
    rows = tf.gather(tf.cast(bytes_, tf.int32) * 8, bits[:, 0])
    rows += tf.cast(bits[:, 1], tf.int32)
    starts, ends = rows[0::2], rows[1::2]
    column = starts // (8 * strips)
    plane, top = column // width, column * (8 * strips)
    return Runs(plane, column - plane * width, starts - top, ends - top)


def draw(kept: Runs, shape: tf.Tensor) -> tf.Tensor:
    """Draws runs into empty columns: the inverse of `runs`.

    Args:
      kept: runs of columns of this shape, in order.
      shape: int32[4], shape of the columns.

    Returns:
      uint8[B, C, W, K].
    """
    _, _, width, strips = tf.unstack(shape)
    top = (kept.plane * width + kept.column) * (8 * strips)
    edges = tf.concat([top + kept.start, top + kept.end], 0)
    bits = tf.gather(tf.constant(_BITS, tf.uint8), edges % 8)
    flips = tf.scatter_nd((edges // 8)[:, None], bits, [tf.reduce_prod(shape)])
    flips = tf.reshape(flips, [-1, strips])
    # A pixel is set where the number of edges up to it is odd: first the edges of its
    # own byte, by halves, then those of the bytes above.
    for shift in (1, 2, 4):
        flips ^= tf.bitwise.left_shift(flips, tf.constant(shift, tf.uint8))
    odd = tf.bitwise.right_shift(flips, tf.constant(7, tf.uint8))
    odd = tf.cumsum(odd, axis=1, exclusive=True) & tf.constant(1, tf.uint8)
    return tf.reshape(flips ^ (odd * tf.constant(255, tf.uint8)), shape)


def label_runs(found: Runs, *, connectivity: int = 8) -> tf.Tensor:
    """Labels runs by their connected component.

    Runs of neighbouring columns are linked where they touch. The link from each run to
    the first that it touches in the previous column gives a forest, whose roots are
    then united over the remaining links (Shiloach and Vishkin, 1982).

    Args:
      found: R runs, from `runs`.
      connectivity: 8, or 4 without diagonals.

    Returns:
      int32[R], index of the first run of the component.

    Raises:
      InputError: the connectivity is neither 4 nor 8.
    """
    return _label_runs(found, connectivity)[0]


def areas(found: Runs, components: tf.Tensor) -> tf.Tensor:
    """Counts the pixels of each run's component.

    Args:
      found: R runs.
      components: int32[R], from `label_runs`.

    Returns:
      int32[R], in pixels.
    """
    lengths = found.end - found.start
    sums = tf.math.unsorted_segment_sum(lengths, components, tf.size(components))
    return tf.gather(sums, components)


def containing(found: Runs, within: Runs) -> tf.Tensor:
    """Finds the run that contains each run of smaller masks.

    Args:
      found: R runs.
      within: S runs of masks of the same size that are subsets.

    Returns:
      int32[S], indices into `found`.
    """
    stride = tf.reduce_max(found.end) + 1
    width = tf.reduce_max(found.column) + 1

    def place(runs):
        return (runs.plane * width + runs.column) * stride + runs.start

    return tf.searchsorted(place(found), place(within), side="right") - 1


def label(planes: tf.Tensor, *, connectivity: int = 8) -> tf.Tensor:
    """Numbers the components of planes.

    Args:
      planes: bool[N, H, W].
      connectivity: 8, or 4 without diagonals.

    Returns:
      int32[N, H, W]: 0 in the background, 1, 2, … in the components of each plane, in
      the order of their first pixels, down the columns.

    Raises:
      InputError: the planes are not bool[N, H, W], or the connectivity is neither
        4 nor 8.
    """
    planes = tf.convert_to_tensor(planes)
    if planes.dtype != tf.bool or planes.shape.rank not in (3, None):
        raise InputError(
            "Planes must be bool[N, H, W]. Received: "
            f"{planes.dtype.name}, shape {planes.shape}, in components.label. "
            "Compare probabilities with a threshold, and give one plane as plane[None]."
        )
    found = runs(pack(planes[..., None]))
    components = label_runs(found, connectivity=connectivity)
    count, height, width = tf.unstack(tf.shape(planes))
    first = tf.cast(components == tf.range(tf.size(components)), tf.int32)
    before = tf.math.unsorted_segment_sum(first, found.plane, count)
    before = tf.gather(tf.cumsum(before, exclusive=True), found.plane)
    numbers = tf.gather(tf.cumsum(first), components) - before
    top = (found.plane * width + found.column) * (height + 1)
    edges = tf.concat([top + found.start, top + found.end], 0)
    steps = tf.concat([numbers, -numbers], 0)
    steps = tf.scatter_nd(edges[:, None], steps, [count * width * (height + 1)])
    numbers = tf.cumsum(tf.reshape(steps, [count, width, height + 1]), axis=2)
    return tf.ensure_shape(tf.transpose(numbers[..., :-1], [0, 2, 1]), planes.shape)


def _label_runs(found, connectivity):
    if connectivity not in (4, 8):
        raise InputError(
            f"Connectivity must be 4 or 8. Received: {connectivity!r}, in "
            "components.label_runs. The default is 8, as in OpenCV."
        )
    before, joined = _links(found, gap=0 if connectivity == 8 else 1)
    trees, passes = _shorten(before)
    is_root = trees == tf.range(tf.size(trees))
    roots = tf.cast(tf.where(is_root)[:, 0], tf.int32)
    trees = tf.gather(tf.cumsum(tf.cast(is_root, tf.int32)) - 1, trees)
    joined = tf.where(joined)[:, 0]
    united, more = _unite(
        tf.range(tf.size(roots)),
        tf.gather(trees, joined),
        tf.gather(trees, joined + 1),
    )
    return tf.gather(tf.gather(roots, united), trees), passes + more


def _links(found, gap):
    """Returns the first previous run that each run touches, and if its next is joined.

    If a touches b, then a is the first run that b touches or b is the first that a
    touches. So two kinds of links are enough: to the first touching run of the previous
    column, and between neighbours that touch the same run of the next column.
    """
    # One axis for all columns, with the previous column one stride before.
    stride = tf.reduce_max(found.end) + 1
    top = (found.plane * (tf.reduce_max(found.column) + 2) + found.column) * stride
    starts, ends = top + found.start, top + found.end
    count = tf.size(starts)
    first = tf.searchsorted(ends, starts - stride + gap)
    touches = tf.gather(starts, first) <= ends - stride - gap
    before = tf.where(touches, first, tf.range(count))
    # `first` is sorted, so counting gives its inverse without a second search.
    last = tf.cumsum(tf.math.bincount(first, minlength=count, maxlength=count)) - 1
    joined = tf.gather(ends, last[:-1]) >= starts[1:] + stride + gap
    return before, joined


def _shorten(parents):
    """Replaces each entry of a forest by its root; counts the passes.

    Parents come before their children, so a jump never increases an entry.
    """

    def jump(parents, _, passes):
        jumped = tf.gather(parents, parents)
        return jumped, tf.reduce_max(parents - jumped) > 0, passes + 1

    start = parents, tf.constant(True), tf.constant(0)
    parents, _, passes = tf.while_loop(lambda _, moved, __: moved, jump, start)
    return parents, passes


def _unite(roots, ones, others):
    """Unites the roots joined by edges; counts the passes.

    Each root is attached to the smallest smaller root next to it. A root that remains
    over two rounds has absorbed another, so the number of rounds is logarithmic.
    """

    def hook(roots, ones, others, passes):
        high, low = tf.maximum(ones, others), tf.minimum(ones, others)
        roots = tf.tensor_scatter_nd_min(roots, high[:, None], low)
        roots, more = _shorten(roots)
        return roots, *_remaining_edges(roots, ones, others), passes + more + 1

    state = roots, *_remaining_edges(roots, ones, others), tf.constant(0)
    vector = tf.TensorShape([None])
    united, _, _, passes = tf.while_loop(
        lambda _, ones, __, ___: tf.size(ones) > 0,
        hook,
        state,
        shape_invariants=(vector, vector, vector, tf.TensorShape([])),
    )
    return united, passes


def _remaining_edges(roots, ones, others):
    ones, others = tf.gather(roots, ones), tf.gather(roots, others)
    apart = tf.where(ones != others)[:, 0]
    return tf.gather(ones, apart), tf.gather(others, apart)
