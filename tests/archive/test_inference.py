import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny_export

from clouds.runs import exports

inference = pytest.importorskip(
    "clouds.archive.inference", reason="needs the extra beam", exc_type=ImportError
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_export.write(folder)
    return exports.load(f"{folder}/1")


def test_each_image_of_a_batch_has_its_own_result(exported, tmp_path):
    contents = {
        "a.jpg": tiny_export.encoded(),
        "bad.jpg": b"no image",
        "b.png": tiny_export.encoded(".png", tiny_export.picture()[::-1]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    batch = [(name, str(tmp_path / name)) for name in [*contents, "none.jpg"]]
    found = {each["image"]: each for each in inference.predict(batch, exported)}
    assert set(found) == {*contents, "none.jpg"}
    assert "cannot be decoded: expected a complete JPEG" in found["bad.jpg"]["failed"]
    assert "none.jpg cannot be read" in found["none.jpg"]["failed"]
    for name in ("a.jpg", "b.png"):
        alone = exported.model.signatures["serving_default"](
            image_bytes=tf.constant([contents[name]])
        )
        texts = [text.decode() for text in alone["rle"][0].numpy()]
        assert found[name]["rle"] == texts and any(texts)
        assert np.allclose(found[name]["scores"], alone["score"][0].numpy())


def test_a_batch_of_unreadable_files_runs_no_network(exported, tmp_path):
    (found,) = inference.predict([("a.jpg", str(tmp_path / "a.jpg"))], exported)
    assert "failed" in found
