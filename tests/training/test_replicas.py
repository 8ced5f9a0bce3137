import subprocess
import sys

import numpy as np
import tensorflow as tf
from helpers.commands import QUICK_JAX, ROOT

from clouds.training import replicas


def test_without_devices_a_batch_is_computed_as_a_whole():
    batch = {"a": np.arange(6.0)}
    assert (replicas.each(lambda part: part["a"] * 2, batch) == batch["a"] * 2).all()
    assert replicas.replica() == (0, 1)


def test_replicas_of_tensorflow_know_their_number():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    index, count = tf.function(lambda: strategy.run(replicas.replica))()
    assert [int(x) for x in strategy.experimental_local_results(index)] == [0, 1]
    assert int(strategy.experimental_local_results(count)[0]) == 2


def test_network_losses_and_augmentation_run_on_jax_without_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = None; import numpy as np\n"
        "from clouds import losses\n"
        "from clouds.models import unet\n"
        "from clouds.training import augment\n"
        "images = np.zeros((1, 32, 32, 3), 'uint8')\n"
        "masks = np.ones((1, 32, 32, 4), 'uint8')\n"
        "moved = augment.RandomGeometry()((images, masks), training=True)\n"
        "logits = unet.build((32, 32))(moved[0])\n"
        "print(float(losses.bce_dice(moved[1], logits)) > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**QUICK_JAX, "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout.endswith("True\n"), done.stderr
