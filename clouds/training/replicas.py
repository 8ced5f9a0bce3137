"""Where a computation runs: per replica of TensorFlow, per device of JAX.

Imports TensorFlow only where it is the backend, so that networks train on JAX alone.
"""

from collections.abc import Callable

import keras


def each(function: Callable, batch):
    """Calls a function of a batch that treats each example separately.

    On several devices of JAX, each computes its part of the batch; XLA would gather the
    batch on every device for a loop over its examples.

    Args:
      function: function from a tree of tensors [B, ...] to another tree.
      batch: the tree.

    Returns:
      The result of the function.
    """
    shared = keras.distribution.distribution()
    if shared is None:
        return function(batch)
    import jax

    mesh = shared.device_mesh.backend_mesh
    part = jax.sharding.PartitionSpec(shared.batch_dim_name)
    return jax.shard_map(
        function, mesh=mesh, in_specs=part, out_specs=part, check_vma=False
    )(batch)


def replica() -> tuple:
    """Returns index (int or int32[]) and number of TensorFlow's replicas, else 0, 1."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync
