"""The optimizer of a training: Adam with the options of the settings."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from clouds.config.training import Training
from clouds.models import resnet

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

_NOT_DECAYED = ["gamma", "beta", "bias"]
# As in PyTorch's OneCycleLR.
_RISING, _FIRST, _LAST = 0.033, 1 / 25, 1 / 25e4


@keras.saving.register_keras_serializable("clouds")
class Adam(keras.optimizers.Adam):
    """Adam with TensorFlow's fused kernel: one op per variable, no temporary copies.

    The graph of Keras's own step takes seconds to trace for as many variables.

    Args:
      encoder_factor: factor of the learning rate for the encoder's layers. Weight decay
        keeps the full rate.
      **options: arguments of `keras.optimizers.Adam`.
    """

    def __init__(self, *options, encoder_factor: float = 1.0, **named):
        super().__init__(*options, **named)
        self.encoder_factor = encoder_factor
        self._factors = []

    def build(self, variables):
        """Creates the moments of the variables."""
        super().build(variables)
        in_encoder = [
            resnet.is_encoder_layer(variable.path.split("/")[-2:][0])
            for variable in variables
        ]
        self._factors = [self.encoder_factor if e else 1.0 for e in in_encoder]

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "encoder_factor": self.encoder_factor}

    def finalize_variable_values(self, var_list):
        """Does nothing: Keras would replace the weights by their averages after `fit`.

        A resumed training must continue from the weights themselves.
        """

    def update_step(self, gradient, variable, learning_rate):
        """Updates a variable, like Keras's Adam."""
        index = self._get_variable_index(variable)
        learning_rate = learning_rate * self._factors[index]
        if not _ON_TENSORFLOW or self.amsgrad or tf.distribute.has_strategy():
            super().update_step(gradient, variable, learning_rate)
            return
        # Keras passes TensorFlow's variable here, not its own.
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
    elif settings.schedule == "onecycle":
        rate = OneCycle(settings.learning_rate, settings.epochs * steps)
    optimizer = Adam(
        rate,
        encoder_factor=settings.encoder_learning_rate_factor,
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


@keras.saving.register_keras_serializable("clouds")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Cosine rise over 3.3 % of the steps, then cosine decay (Smith and Topin 2018).

    From 1/25 of the peak to 1/250,000, the defaults of PyTorch's OneCycleLR.

    Args:
      peak: highest learning rate.
      steps: number of steps of the training.
    """

    def __init__(self, peak: float, steps: int):
        self.peak = peak
        self.steps = steps

    def __call__(self, step):
        """Returns the learning rate of a step, float32[]."""
        last = max(self.steps - 1.0, 1.0)
        top = _RISING * last
        step = ops.minimum(ops.cast(step, "float32"), last)
        rising = _cosine_between(_FIRST, 1.0, step / top)
        falling = _cosine_between(1.0, _LAST, (step - top) / (last - top))
        return self.peak * ops.where(step < top, rising, falling)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {"peak": self.peak, "steps": self.steps}


def _cosine_between(start, end, share):
    return end + (start - end) * (1 + ops.cos(np.pi * share)) / 2


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
