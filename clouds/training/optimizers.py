"""The optimizer of a training: Adam with the options of the settings."""

import contextlib
from collections.abc import Iterator

import keras

from clouds.config.training import Training

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

_NOT_DECAYED = ["gamma", "beta", "bias"]


@keras.saving.register_keras_serializable("clouds")
class Adam(keras.optimizers.Adam):
    """Adam with TensorFlow's fused kernel: one op per variable, no temporary copies.

    The graph of Keras's own step takes seconds to trace for as many variables.
    """

    def finalize_variable_values(self, var_list):
        """Does nothing: Keras would replace the weights by their averages after `fit`.

        A resumed training must continue from the weights themselves.
        """

    def update_step(self, gradient, variable, learning_rate):
        """Updates a variable, like Keras's Adam."""
        if not _ON_TENSORFLOW or self.amsgrad or tf.distribute.has_strategy():
            super().update_step(gradient, variable, learning_rate)
            return
        # Keras passes TensorFlow's variable here, not its own.
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def build(settings: Training, steps: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer.

    Args:
      settings: settings of the training.
      steps: number of steps per epoch.

    Returns:
      Adam; with weight decay AdamW (Loshchilov and Hutter 2019), which does not decay
      biases and batch normalization.
    """
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        rate = _cosine(settings, steps)
    optimizer = Adam(
        rate,
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clip_norm or None,
        gradient_accumulation_steps=(
            settings.accumulate if settings.accumulate > 1 else None
        ),
        use_ema=settings.ema_momentum > 0,
        # Keras updates the average in each step, also between updates of the weights.
        ema_momentum=(settings.ema_momentum or 0.99) ** (1 / settings.accumulate),
    )
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


@contextlib.contextmanager
def averaged_weights(swaps: list[keras.callbacks.Callback]) -> Iterator[None]:
    """Replaces the weights by their moving average inside the block.

    Args:
      swaps: the `keras.callbacks.SwapEMAWeights` of the training, or an empty list.
    """
    for swap in swaps:
        swap.on_test_begin()
    yield
    for swap in swaps:
        swap.on_test_end()


def _cosine(settings: Training, steps: int):
    warmup = int(settings.warmup_epochs * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        max(settings.epochs * steps - warmup, 1),
        alpha=settings.min_learning_rate / settings.learning_rate,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
