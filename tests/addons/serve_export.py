"""Answers requests with an export: serve_export.py OPS EXPORT IN OUT.

For the environment of TensorFlow 2.15: test_export.py runs it there. EXPORT, IN and
OUT as for tests/helpers/loader.py; the answers are preceded by the list of those ops,
of the file OPS, that have no kernel for the CPU there.
"""

import pickle
import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework import kernels

# What is rewritten before it is run.
REWRITTEN = {"PartitionedCall", "StatefulPartitionedCall"}


def without_kernel(ops):
    """Lists the ops that this TensorFlow knows no kernel for."""
    return [
        op
        for op in ops
        if op not in REWRITTEN
        and not any(
            kernel.device_type in ("CPU", "DEFAULT")
            for kernel in kernels.get_registered_kernels_for_op(op).kernel
        )
    ]


def main():
    """Loads, then answers."""
    ops, folder, source, target = map(Path, sys.argv[1:])
    answers = [without_kernel(ops.read_text().split())]
    signatures = tf.saved_model.load(str(folder)).signatures
    for name, batch in pickle.loads(source.read_bytes()):
        signature = signatures[name]
        (key,) = signature.structured_input_signature[1]
        if batch.dtype == object:
            batch = batch.tolist()
        try:
            answer = signature(**{key: tf.constant(batch)})
            answers.append({key: value.numpy() for key, value in answer.items()})
        except tf.errors.OpError as error:
            answers.append(error.error_code)
    target.write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    main()
