import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from clouds.data.images import graph_formats

picture = np.random.default_rng(0).integers(0, 256, (9, 14, 4), np.uint8)


def saved(image, kind="png", **options):
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_a_png_is_composited_on_black_in_a_graph(mode):
    contents = saved(Image.fromarray(picture).convert(mode))
    with Image.open(io.BytesIO(contents)) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(int)
    expected = (pixels[..., :3] * pixels[..., 3:] + 127) // 255
    assert (tf.function(graph_formats.decode)(contents).numpy() == expected).all()


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp"])
def test_a_usual_file_passes_the_check(kind):
    contents = saved(Image.fromarray(picture[..., :3]), kind)
    assert graph_formats.check(tf.constant(contents)) == contents


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_turned_file_is_refused(kind, turn):
    exif = Image.Exif()
    exif[274] = turn
    contents = saved(Image.fromarray(picture[..., :3]), kind, exif=exif)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be upright"):
        graph_formats.check(tf.constant(contents))
