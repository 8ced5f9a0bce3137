"""Layers equal to Keras's in weights, names and results, with faster kernels.

Images and features are float [B, H, W, C]. Where a kernel exists in TensorFlow only,
other backends use Keras's own layer.
"""

import keras
import numpy as np
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf


@keras.saving.register_keras_serializable("clouds")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization with TensorFlow's fused kernel, which Keras 3 does not use.

    Always with scale and center. As in the notebook's Keras 2, the moving variance is
    the sample variance, with n - 1 in the denominator; on JAX it is Keras 3's, with n.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalizes float [B, H, W, C]."""
        if not _ON_TENSORFLOW or self.synchronized or inputs.dtype == tf.float64:
            return super().call(inputs, training=training, mask=mask)
        is_training = bool(training and self.trainable)
        moving_mean, moving_variance = self.moving_mean, self.moving_variance
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            mean=None if is_training else tf.cast(moving_mean, tf.float32),
            variance=None if is_training else tf.cast(moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=is_training,
        )
        if is_training:
            _update_averages(self, mean, variance)
        return outputs


@keras.saving.register_keras_serializable("clouds")
class ImageNormalization(keras.layers.BatchNormalization):
    """Batch normalization of images, through which training needs no gradient.

    Only its shift is trained (`scale=False`).
    """

    def call(self, inputs, training=None, mask=None):
        """Normalizes float [B, H, W, K]."""
        is_training = bool(training and self.trainable)
        if not is_training or inputs.dtype == "float64":
            return super().call(inputs, training=is_training)
        width, channels = inputs.shape[2:]
        rows = ops.reshape(ops.cast(inputs, "float32"), (-1, width * channels))

        def mean_of(values):
            columns = ops.reshape(ops.mean(values, 0), (width, channels))
            return ops.mean(columns, 0)

        mean = mean_of(rows)
        rows = rows - ops.tile(mean, width)
        variance = mean_of(rows * rows)
        pixels = ops.cast(ops.size(rows) // channels, "float32")
        _update_averages(self, mean, variance * pixels / (pixels - 1))
        rows = rows * ops.tile(ops.rsqrt(variance + self.epsilon), width)
        normalized = ops.reshape(ops.cast(rows, inputs.dtype), ops.shape(inputs))
        return ops.stop_gradient(normalized) + ops.cast(self.beta, inputs.dtype)


def _update_averages(layer: keras.layers.BatchNormalization, mean, variance) -> None:
    """Updates the moving averages with the mean and sample variance of a batch."""
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        old = ops.cast(moving, "float32")
        moving.assign(old * layer.momentum + new * (1 - layer.momentum))


@keras.saving.register_keras_serializable("clouds")
class ImageConv2D(keras.layers.Conv2D):
    """The first convolution, whose input is images shifted by a trained bias.

    For that bias, training needs only the sum of the input gradient over the pixels of
    each channel. So in training mode the gradient is that sum, placed in one pixel,
    which takes a fraction of the time. Do not differentiate with respect to the images
    in that mode.
    """

    def call(self, inputs, training=None):
        """Convolves padded images, float [B, H + 2 pad, W + 2 pad, K]."""
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
            kernel_gradient = tf.raw_ops.Conv2DBackpropFilter(
                input=images,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=strides,
                padding="VALID",
            )
            summed = _sum_of_input_gradient(upstream, kernel, images.shape, strides)
            summed = tf.cast(summed, images.dtype)
            image_gradient = tf.scatter_nd(
                [[0, pad, pad]], summed[None], tf.shape(images)
            )
            return image_gradient, kernel_gradient

        return tf.nn.conv2d(images, kernel, strides, "VALID"), gradient

    return convolve(images, kernel)


def _sum_of_input_gradient(upstream, kernel, shape, strides):
    """Sums the input gradient over all pixels that are not padding, float32[C]."""
    size, pad = kernel.shape[0], kernel.shape[0] // 2

    def is_inside(axis):
        outputs = np.arange(upstream.shape[axis]) * strides[axis]
        position = outputs + np.arange(size)[:, None]
        inside = (pad <= position) & (position < shape[axis] - pad)
        return inside.astype(np.float32)

    batch_sum = tf.reduce_sum(tf.cast(upstream, tf.float32), 0)
    rows = tf.tensordot(is_inside(1), batch_sum, 1)
    taps = tf.einsum("xw,ywf->yxf", is_inside(2), rows)
    return tf.einsum("yxcf,yxf->c", tf.cast(kernel, tf.float32), taps)


@keras.saving.register_keras_serializable("clouds")
class UpsampledConv2D(keras.layers.Layer):
    """Nearest-neighbour upsampling by 2, concatenation, and a 3x3 convolution, in one.

    The upsampled part is one transposed convolution, whose 4x4 kernel holds the sums of
    the weights that meet the same pixel: 16 multiplications instead of 36.

    Args:
      filters: number of channels of the result.
    """

    def __init__(self, filters: int, **options):
        super().__init__(**options)
        self.filters = filters

    def build(self, shapes):
        """Adds the kernel, [3, 3, C of both inputs, filters]."""
        self._upsampled_channels = shapes[0][-1]
        self._fixed_kernels = None
        self.kernel = self.add_weight(
            (3, 3, sum(shape[-1] for shape in shapes), self.filters),
            initializer="he_uniform",
            name="kernel",
        )

    def call(self, inputs):
        """Returns [B, 2h, 2w, filters]; inputs are [B, h, w, C] and [B, 2h, 2w, D]."""
        features, *skips = inputs
        upsampling, kernel = self._fixed_kernels or self._split(self.kernel)
        result = ops.conv_transpose(features, upsampling, strides=2, padding="same")
        for skip in skips:
            result = result + ops.conv(skip, kernel, padding="same")
        return result

    def fix_kernels(self):
        """Computes the kernels of `call` once, for inference (TensorFlow)."""
        parts = self._split(ops.cast(self.kernel, self.compute_dtype))
        self._fixed_kernels = tuple(
            tf.Variable(part, trainable=False) for part in parts
        )

    def _split(self, kernel):
        """Returns the kernels of the transposed convolution and of the skip."""
        kernel = ops.convert_to_tensor(kernel)
        channels = self._upsampled_channels
        # Keras 3.13, the version on Colab, flips along one axis only.
        upsampling = ops.flip(ops.flip(kernel[:, :, :channels], 0), 1)
        for axis in (0, 1):
            pads = [(1, 1) if at == axis else (0, 0) for at in range(4)]
            first, second = (slice(None, -1), slice(1, None))
            padded = ops.pad(upsampling, pads)
            if axis == 0:
                upsampling = padded[first] + padded[second]
            else:
                upsampling = padded[:, first] + padded[:, second]
        return ops.swapaxes(upsampling, 2, 3), kernel[:, :, channels:]

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "filters": self.filters}
