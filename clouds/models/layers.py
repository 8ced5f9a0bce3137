"""Keras's layers through faster kernels: the same weights, names and results.

Images and features are float [B, H, W, C]. What only TensorFlow offers falls back to
Keras's own layer on other backends.
"""

import keras
import numpy as np
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf


@keras.saving.register_keras_serializable("clouds")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by TensorFlow's fused kernel, which Keras 3 leaves aside.

    Always with scale and centre. As in the notebook's Keras 2 the moving variance is
    that of a sample, the batch's sum of squares by n - 1; on JAX it is Keras 3's, by n.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalises float [B, H, W, C]."""
        if not _ON_TENSORFLOW or self.synchronized or inputs.dtype == tf.float64:
            return super().call(inputs, training=training, mask=mask)
        learning = bool(training and self.trainable)
        moving_mean, moving_variance = self.moving_mean, self.moving_variance
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            mean=None if learning else tf.cast(moving_mean, tf.float32),
            variance=None if learning else tf.cast(moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            _move(self, mean, variance)
        return outputs


@keras.saving.register_keras_serializable("clouds")
class ImageNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of images, through which training needs no gradient.

    Of its weights only the shift is trained (`scale=False`).
    """

    def call(self, inputs, training=None, mask=None):
        """Normalises float [B, H, W, 3]."""
        learning = bool(training and self.trainable)
        if not learning or inputs.dtype == "float64":
            return super().call(inputs, training=learning)
        width, channels = inputs.shape[2:]
        rows = ops.reshape(ops.cast(inputs, "float32"), (-1, width * channels))

        def mean_of(values):
            columns = ops.reshape(ops.mean(values, 0), (width, channels))
            return ops.mean(columns, 0)

        mean = mean_of(rows)
        rows = rows - ops.tile(mean, width)
        variance = mean_of(rows * rows)
        pixels = ops.cast(ops.size(rows) // channels, "float32")
        _move(self, mean, variance * pixels / (pixels - 1))
        rows = rows * ops.tile(ops.rsqrt(variance + self.epsilon), width)
        normalized = ops.reshape(ops.cast(rows, inputs.dtype), ops.shape(inputs))
        return ops.stop_gradient(normalized) + ops.cast(self.beta, inputs.dtype)


def _move(layer: keras.layers.BatchNormalization, mean, variance) -> None:
    """Moves the averages towards a batch's mean and sample variance."""
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        old = ops.cast(moving, "float32")
        moving.assign(old * layer.momentum + new * (1 - layer.momentum))


@keras.saving.register_keras_serializable("clouds")
class ImageConv2D(keras.layers.Conv2D):
    """The first convolution, of padded images that a trained amount a channel shifts.

    Of the gradient to its input, training needs the sum over each channel's pixels
    alone. So in training mode the gradient is that sum, put into one pixel, which
    takes a fraction of the time; do not differentiate by the images in that mode.
    """

    def call(self, inputs, training=None):
        """Convolves float [B, H + 2 pad, W + 2 pad, 3] without padding it again."""
        if not (_ON_TENSORFLOW and training):
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        return _convolve_images(inputs, kernel, self.strides)


def _convolve_images(images, kernel, strides):
    pad = kernel.shape[0] // 2
    strides = [1, *strides, 1]

    @tf.custom_gradient
    def convolve(images, kernel):
        def gradient(upstream):
            of_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=images,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=strides,
                padding="VALID",
            )
            summed = _sum_of_input_gradient(upstream, kernel, images.shape, strides)
            summed = tf.cast(summed, images.dtype)
            of_images = tf.scatter_nd([[0, pad, pad]], summed[None], tf.shape(images))
            return of_images, of_kernel

        return tf.nn.conv2d(images, kernel, strides, "VALID"), gradient

    return convolve(images, kernel)


def _sum_of_input_gradient(upstream, kernel, shape, strides):
    """float32[C]: each tap takes part where it falls on the image, not its padding."""
    size, pad = kernel.shape[0], kernel.shape[0] // 2

    def inside(axis):
        outputs = np.arange(upstream.shape[axis]) * strides[axis]
        position = outputs + np.arange(size)[:, None]
        within = (pad <= position) & (position < shape[axis] - pad)
        return within.astype(np.float32)

    of_batch = tf.reduce_sum(tf.cast(upstream, tf.float32), 0)
    rows = tf.tensordot(inside(1), of_batch, 1)
    taps = tf.einsum("xw,ywf->yxf", inside(2), rows)
    return tf.einsum("yxcf,yxf->c", tf.cast(kernel, tf.float32), taps)


@keras.saving.register_keras_serializable("clouds")
class UpsampledConv2D(keras.layers.Layer):
    """Doubles features by nearest pixels, appends others, and convolves 3x3.

    The doubled part is one transposed convolution, whose 4x4 kernel holds the sums of
    the taps that meet the same pixel: 16 multiplications in place of 36.

    Args:
      filters: channels of the result.
    """

    def __init__(self, filters: int, **options):
        super().__init__(**options)
        self.filters = filters

    def build(self, shapes):
        """Adds the kernel, [3, 3, C of both inputs, filters]."""
        self._doubled_channels = shapes[0][-1]
        self._settled = None
        self.kernel = self.add_weight(
            (3, 3, sum(shape[-1] for shape in shapes), self.filters),
            initializer="he_uniform",
            name="kernel",
        )

    def call(self, inputs):
        """[[B, h, w, C], maybe [B, 2h, 2w, D]] -> [B, 2h, 2w, filters]."""
        features, *skip = inputs
        doubled, kernel = self._settled or self._split(self.kernel)
        result = ops.conv_transpose(features, doubled, strides=2, padding="same")
        for others in skip:
            result = result + ops.conv(others, kernel, padding="same")
        return result

    def settle(self):
        """Computes what `call` makes of the kernel once and for all (TensorFlow).

        For a network that is trained no more.
        """
        parts = self._split(ops.cast(self.kernel, self.compute_dtype))
        self._settled = tuple(tf.Variable(part, trainable=False) for part in parts)

    def _split(self, kernel):
        """The kernel of the transposed convolution, and the appended features'."""
        kernel = ops.convert_to_tensor(kernel)
        channels = self._doubled_channels
        # Keras 3.13, which Colab has, flips along one axis at a time.
        doubled = ops.flip(ops.flip(kernel[:, :, :channels], 0), 1)
        for axis in (0, 1):
            pads = [(1, 1) if at == axis else (0, 0) for at in range(4)]
            first, second = (slice(None, -1), slice(1, None))
            padded = ops.pad(doubled, pads)
            if axis == 0:
                doubled = padded[first] + padded[second]
            else:
                doubled = padded[:, first] + padded[:, second]
        return ops.swapaxes(doubled, 2, 3), kernel[:, :, channels:]

    def get_config(self):
        """The arguments that make the layer again."""
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("clouds")
class Adam(keras.optimizers.Adam):
    """Adam by TensorFlow's fused kernel: one op a variable, and no temporary copies.

    A step's graph of Keras's own takes seconds to trace for as many variables.
    """

    def finalize_variable_values(self, var_list):
        """Leaves the weights alone, where Keras puts their averages when `fit` ends.

        A training that goes on must go on from the weights.
        """

    def update_step(self, gradient, variable, learning_rate):
        """Moves a variable, as Keras's Adam does."""
        if not _ON_TENSORFLOW or self.amsgrad or tf.distribute.has_strategy():
            super().update_step(gradient, variable, learning_rate)
            return
        # Outside a strategy, too, Keras hands over TensorFlow's variable, not its own.
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
