import json
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import fuzz_images, tiny_export

from clouds import schema
from clouds.errors import InputError
from clouds.postprocess import apply
from clouds.runtime import checksums
from clouds.schema import Bands
from clouds.serving.model_store import Model
from clouds.serving.protocol import Refusal, Spec


@pytest.fixture(scope="module")
def model(tiny_model):
    return Model(str(tiny_model), "clouds", warm=[1])


def row(contents):
    return {"image_bytes": np.array(contents, object)}


def test_a_signature_answers_each_row_like_the_graph(model):
    signature = model.version.signatures["serving_default"]
    assert signature.inputs == {"image_bytes": Spec(np.dtype(object), (None,))}
    assert signature.takes_files
    dark = np.zeros((5, 5, 3), np.uint8)
    answers = signature(
        [row(tiny_export.encoded(".png", dark)), row(tiny_export.encoded())]
    )
    assert answers[0]["rle"].tolist() == [b""] * 4
    assert answers[1]["label"].tolist() == [
        name.encode() for name in schema.CLOUDS.labels
    ]
    image = tf.io.decode_jpeg(tiny_export.encoded(), dct_method="INTEGER_ACCURATE")
    images = cv2.resize(image.numpy(), (96, 64), interpolation=cv2.INTER_AREA)[None]
    found = tiny_export.Network()(images)
    _, masks = apply(
        found, tiny_export.RULE, images, (350, 525), outputs=("raw_masks", "masks")
    ).values()
    areas = masks.numpy().sum((0, 1, 2))
    assert areas[:2].min() > 10_000
    assert np.abs(answers[1]["area"] - areas).max() < 100


def test_pixels_are_accepted_too(model):
    signature = model.version.signatures["images_uint8"]
    assert not signature.takes_files
    (answer,) = signature([{"images": tiny_export.picture()}])
    assert answer["area"].shape == (4,)


def test_a_refusal_of_the_graph_does_not_name_its_nodes(model):
    cut = tiny_export.encoded()[:700]
    with pytest.raises(Refusal, match="Received: 700 bytes that cannot") as refusal:
        model.version.signatures["serving_default"]([row(cut)])
    assert refusal.value.status == 400
    assert "node" not in refusal.value.reason


def test_damaged_files_of_every_kind_are_answered_or_refused(
    model, tmp_path, monkeypatch
):
    monkeypatch.setattr(fuzz_images, "FOUND", tmp_path / "found")
    signature = model.version.signatures["serving_default"]
    outcomes, _, _ = fuzz_images.fuzz(signature, lambda number: number < 500, seed=0)
    assert outcomes.total() == 500
    assert outcomes.pop("answered") > 50
    assert len(outcomes) == 5
    assert all(reason.startswith("Image must ") for reason in outcomes)
    assert not (tmp_path / "found").exists()


def test_status_and_metadata_are_those_of_tensorflow_serving(model):
    told = {"error_code": "OK", "error_message": ""}
    one = {"version": "1", "state": "AVAILABLE", "status": told}
    assert (
        model.status() == model.status(version="1") == {"model_version_status": [one]}
    )
    inputs = model.version.metadata["serving_default"]["inputs"]
    assert inputs["image_bytes"]["dtype"] == "DT_STRING"
    assert inputs["image_bytes"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert set(model.version.metadata) == set(model.version.signatures)
    for ask in (model.status, model.find):
        for path in ({"version": "2"}, {"name": "other"}, {"label": "previous"}):
            with pytest.raises(Refusal) as refusal:
                ask(**path)
            assert refusal.value.status == 404


def test_a_newer_version_takes_over_unless_it_is_broken(tiny_model, tmp_path):
    shutil.copytree(tiny_model / "1", tmp_path / "9")
    model = Model(str(tmp_path), "clouds")
    assert not model.refresh()
    assert model.version.number == 9
    shutil.copytree(tiny_model / "1", tmp_path / "10")
    rule = tmp_path / "10" / "assets.extra" / "postprocess.json"
    rule.parent.mkdir()
    rule.write_text(json.dumps({"thresholds": [0.1, 0.2, 0.3, 0.4]}))
    assert model.refresh()
    assert model.version.number == 10
    assert model.version.rule.thresholds == (0.1, 0.2, 0.3, 0.4)
    (tmp_path / "11").mkdir()
    (tmp_path / "11" / "saved_model.pb").write_bytes(b"torn")
    (tmp_path / "part-12").mkdir()
    assert not model.refresh()
    assert not model.refresh()
    assert model.find().number == 10
    states = model.status()["model_version_status"]
    assert [(each["version"], each["state"]) for each in states] == [
        ("11", "END"),
        ("10", "AVAILABLE"),
    ]
    assert str(tmp_path) not in json.dumps(states)


def test_a_version_that_is_copied_slowly_is_loaded_once_complete(tiny_model, tmp_path):
    source = tiny_model / "1"
    shutil.copytree(source, tmp_path / "1")
    served = Model(str(tmp_path), "clouds")
    (tmp_path / "2").mkdir()
    shutil.copy(source / "saved_model.pb", tmp_path / "2")
    assert not served.refresh()
    assert set(served.failed) == {2}
    assert not served.refresh()
    shutil.copytree(source, tmp_path / "2", dirs_exist_ok=True)
    assert served.refresh()
    assert served.version.number == 2
    assert not served.failed


def test_the_folder_of_a_version_is_an_error(tiny_model):
    with pytest.raises(InputError, match=f"Give '{tiny_model}'"):
        Model(str(tiny_model / "1"), "clouds")


def test_a_folder_without_versions_or_with_a_broken_one_is_an_error(tmp_path):
    with pytest.raises(InputError, match="folder of versions.*which holds none"):
        Model(str(tmp_path), "clouds")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot load the model.*Export it again"):
        Model(str(tmp_path), "clouds")


def test_another_kind_of_model_is_an_error(tmp_path):
    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def double(self, x):
            return {"y": 2 * x}

    other = Other()
    signatures = {"serving_default": other.double.get_concrete_function()}
    tf.saved_model.save(other, str(tmp_path / "1"), signatures=signatures)
    with pytest.raises(InputError, match="image_bytes to rle"):
        Model(str(tmp_path), "clouds")


def test_a_version_that_has_changed_since_its_export_is_refused(tiny_model, tmp_path):
    version = tmp_path / "1"
    shutil.copytree(tiny_model / "1", version)
    checksums.write_list(version)
    Model(str(tmp_path), "clouds")
    path = next((version / "variables").glob("variables.data*"))
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match=f"{path.name} has changed since the export"):
        Model(str(tmp_path), "clouds")


PAIR = Bands(("vis", "ir"), "uint16")


def test_a_version_of_other_bands_takes_pngs_and_numbers(tmp_path):
    tiny_export.write(tmp_path, bands=PAIR)
    version = Model(str(tmp_path), "clouds", warm=[1]).version
    assert version.bands == PAIR
    image = np.zeros((64, 96, 2), np.uint16)
    image[10:40, 20:50, 0] = 65535
    png = tf.io.encode_png(image).numpy()
    (by_file,) = version.signatures["serving_default"]([row(png)])
    (by_number,) = version.signatures["images"]([{"images": image}])
    assert by_file["area"][0] == by_number["area"][0] > 1000
    with pytest.raises(Refusal, match=r"a complete PNG of 2 bands of uint16 \(vis, ir"):
        version.signatures["serving_default"]([row(png[:60])])


def test_a_version_of_bands_that_no_png_holds_takes_numbers(tmp_path):
    bands = Bands(tuple("abcde"), "float32")
    tiny_export.write(tmp_path, bands=bands)
    version = Model(str(tmp_path), "clouds", warm=[1]).version
    default = version.signatures["serving_default"]
    assert not default.takes_files
    assert default.inputs["images"].shape == (None, None, None, 5)
    (answer,) = default([{"images": np.zeros((64, 96, 5), np.float32)}])
    assert answer["rle"].tolist() == [b""] * 4
