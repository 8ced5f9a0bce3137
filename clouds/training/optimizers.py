"""The optimizer of a training: Adam, with what Keras can add to it."""

import contextlib
from collections.abc import Iterator

import keras

from clouds.config.training import Training
from clouds.models import layers

_NOT_DECAYED = ["gamma", "beta", "bias"]


def build(settings: Training, steps: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer.

    Args:
      settings: of the training.
      steps: an epoch.

    Returns:
      Adam; with weight decay AdamW (Loshchilov and Hutter 2019), which leaves
      biases and batch normalisation alone.
    """
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        rate = _cosine(settings, steps)
    optimizer = layers.Adam(
        rate,
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clip_norm or None,
        gradient_accumulation_steps=(
            settings.accumulate if settings.accumulate > 1 else None
        ),
        use_ema=settings.ema_momentum > 0,
        # Keras moves the average each step, also between updates.
        ema_momentum=(settings.ema_momentum or 0.99) ** (1 / settings.accumulate),
    )
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


@contextlib.contextmanager
def averages(swaps: list[keras.callbacks.Callback]) -> Iterator[None]:
    """Puts the moving average of the weights in their place, within.

    Args:
      swaps: the `keras.callbacks.SwapEMAWeights` of the training, or none.
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
