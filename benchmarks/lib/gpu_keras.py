"""Our side of `on_gpu.py`: Keras on JAX, without TensorFlow."""

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import keras
import numpy as np

from clouds import losses
from clouds.models import unet
from clouds.training import augment
from lib import gpu


def values(variables):
    """Copies of the variables' arrays; those that are donated are gone after a step."""
    return [jnp.array(variable.value) for variable in variables]


def prepared(images):
    """As `--preprocess unit`."""
    return jnp.asarray(images, jnp.float32) / 255


def built(size, precision):
    """The network, and the arrays that it trains and the others."""
    keras.utils.set_random_seed(0)
    network = unet.build(size, dtype=precision)
    return network, (
        values(network.trainable_variables),
        values(network.non_trainable_variables),
    )


def logits(size, precision, images, device):
    """Logits of a fresh network on a device."""
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        network, state = built(size, precision)

        def forward(state, images):
            found, _ = network.stateless_call(*state, prepared(images), training=False)
            return found

        return np.asarray(jax.jit(forward)(jax.device_put(state, device), images))


def peak(settings):
    """Operations a second of a matrix product in bfloat16."""
    side = 256 if settings.small else 8192
    factor = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product, results = jax.jit(lambda x: x @ x), []

    def step():
        results[:] = [product(factor)]

    median = gpu.rate(step, lambda: results[0].block_until_ready(), settings, 1)[0]
    return median * 2 * side**3


class Side:
    """Steps of the network."""

    def __init__(self, size):
        self.size = size
        self.network, self.initial = built(size, "mixed_bfloat16")
        self.optimizer = keras.optimizers.Adam(5e-4)
        self.optimizer.build(self.network.trainable_variables)
        self.augmentation = augment.build()
        self.train = jax.jit(self._train, static_argnums=3, donate_argnums=0)
        self.infer = jax.jit(self._infer)

    def _loss(self, weights, others, images, masks):
        found, others = self.network.stateless_call(
            weights, others, prepared(images), training=True
        )
        return losses.bce_dice(masks, found), others

    def _train(self, state, images, masks, augmented):
        weights, others, moments, seeds = state
        if augmented:
            (images, masks), seeds = self.augmentation.stateless_call(
                [], seeds, (images, masks), training=True
            )
        gradient = jax.value_and_grad(self._loss, has_aux=True)
        (loss, others), gradients = gradient(weights, others, images, masks)
        weights, moments = self.optimizer.stateless_apply(moments, gradients, weights)
        return loss, (weights, others, moments, seeds)

    def _infer(self, weights, others, images):
        found, _ = self.network.stateless_call(
            weights, others, prepared(images), training=False
        )
        return jax.nn.sigmoid(found)

    def __call__(self, what, batch):
        """A step, a wait, and the peak memory (see `gpu.measure_all`)."""
        random = np.random.default_rng(0)
        images = jnp.asarray(random.integers(0, 256, (batch, *self.size, 3), np.uint8))
        masks = jnp.asarray(random.integers(0, 2, (batch, *self.size, 4), np.uint8))
        weights, others = jax.tree.map(jnp.array, self.initial)
        moments = values(self.optimizer.variables)
        seeds = values(self.augmentation.non_trainable_variables)
        results = [None, (weights, others, moments, seeds)]

        def infer():
            results[0] = self.infer(*results[1][:2], images)

        def train():
            augmented = what == gpu.AUGMENTED
            results[:] = self.train(results[1], images, masks, augmented)

        step = infer if what == "infer" else train
        return step, lambda: results[0].block_until_ready(), memory


def memory():
    """Peak bytes of this process so far, None if unknown."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def main():
    """Answers with the device, the peak, the errors and the rates."""
    settings = gpu.options()
    size = tuple(settings.size)
    device = jax.devices()[0]
    gpu.report(kind="device", name=device.device_kind, jax=jax.__version__)
    gpu.report(kind="peak", flops=peak(settings))
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    expected = logits(size, "float32", images, jax.devices("cpu")[0])
    for precision in ("float32", "mixed_bfloat16"):
        error = abs(logits(size, precision, images, device) - expected).max()
        relative = float(error / abs(expected).max())
        gpu.report(kind="error", precision=precision, relative=relative)
    gpu.measure_all(Side(size), settings)


if __name__ == "__main__":
    main()
