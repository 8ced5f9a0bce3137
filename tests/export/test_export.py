import pickle
import shutil
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from helpers import small
from helpers.commands import ROOT, RULE
from helpers.edits import edit
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from clouds.cli import main
from clouds.config.rule import Rule
from clouds.data import annotations
from clouds.data.images import preprocessing
from clouds.data.scenes import scene
from clouds.export import export, model_card, warmup
from clouds.runs import network, run_folder
from clouds.runtime import checksums

OPS = ROOT / "tests/addons/serving_ops.txt"
HALF = ["mixed_bfloat16", "mixed_float16"]


def files_of(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def batch_of(contents):
    batch = np.empty(len(contents), object)
    batch[:] = contents
    return batch


@pytest.fixture(scope="module")
def jpegs(sample, request):
    """Full-resolution images if available, else scenes."""
    try:
        folder = request.getfixturevalue("real_data") / "fullres/train_images"
    except pytest.skip.Exception:
        folder = sample / "train_images"
    return files_of(folder)[:12]


@pytest.fixture(scope="module")
def requests(jpegs):
    floats = np.stack([scene(seed, (50, 70))[0] for seed in range(3)]).astype("f4")
    broken = jpegs[0][: len(jpegs[0]) // 2]
    return [
        ("serving_default", batch_of(jpegs)),
        ("serving_default", batch_of(jpegs[4:5])),
        ("images", floats),
        ("images", floats[1:2]),
        ("images_uint8", floats.astype(np.uint8)),
        ("probabilities", batch_of(jpegs[:2])),
        ("masks_png", batch_of(jpegs[:2])),
        ("serving_default", batch_of([jpegs[0], broken])),
        ("serving_default", batch_of([b""])),
    ]


@pytest.fixture(scope="module")
def of_unet(run, tmp_path_factory):
    """The run of the real U-Net as a model; its rule leaves something of most masks."""
    folder = tmp_path_factory.mktemp("models") / "clouds"
    assert main.main(["export", "--run", str(run), "--out", str(folder), *RULE]) == 0
    return folder


@pytest.fixture(scope="module")
def answers(of_unet, requests):
    """Answers of TensorFlow in this process."""
    return answers_of(of_unet, requests)


def answers_of(model, requests):
    signatures = tf.saved_model.load(str(model / "1")).signatures
    found = []
    for name, batch in requests:
        (key,) = signatures[name].structured_input_signature[1]
        request = tf.constant(batch.tolist() if batch.dtype == object else batch)
        try:
            answer = signatures[name](**{key: request})
            found.append({key: value.numpy() for key, value in answer.items()})
        except tf.errors.OpError as error:
            found.append(error.error_code)
    return found


def same(answers, others, tolerance=0.0):
    assert len(answers) == len(others)
    for answer, other in zip(answers, others, strict=True):
        if isinstance(answer, int):
            assert other == answer == tf.errors.INVALID_ARGUMENT
            continue
        assert answer.keys() == other.keys()
        for key, value in answer.items():
            assert value.shape == other[key].shape
            if value.dtype == np.float32:
                np.testing.assert_allclose(other[key], value, atol=tolerance)
            else:
                np.testing.assert_array_equal(other[key], value)


def texts_of_predict(jpegs, folder, *runs):
    images, out = folder / "images", folder / "out"
    images.mkdir()
    for index, contents in enumerate(jpegs):
        (images / f"{index:02}.jpg").write_bytes(contents)
    flags = ["--run", *map(str, runs), "--images", str(images), "--out", str(out)]
    assert main.main(["predict", *flags, *RULE, "--overlays", "0"]) == 0
    return annotations.read(str(out / "submission_post.csv")).texts


def texts_of_export(folder, jpegs):
    signature = tf.saved_model.load(str(folder / "1")).signatures["serving_default"]
    return signature(image_bytes=tf.constant(jpegs))["rle"].numpy().astype(str)


def stored(version):
    return sum(path.stat().st_size for path in (version / "variables").iterdir())


def test_the_rle_is_that_of_bin_predict_on_the_same_files(
    of_unet, run, jpegs, tmp_path
):
    texts = texts_of_export(of_unet, jpegs)
    assert (texts == texts_of_predict(jpegs, tmp_path, run)).all()
    assert (texts != "").any()


@pytest.fixture(scope="module", params=HALF)
def half(request, run, tmp_path_factory):
    """A run as if trained in half precision, and its export."""
    folder = tmp_path_factory.mktemp("half") / "run"
    shutil.copytree(run, folder)
    edit(folder / run_folder.CONFIG, precision=request.param)
    model = folder.with_name("model")
    assert main.main(["export", "--run", str(folder), "--out", str(model), *RULE]) == 0
    assert request.param in (model / "1" / model_card.MODEL).read_text()
    return folder, model


@pytest.fixture
def small_network(monkeypatch):
    """`small.build_smooth` stands for the U-Net, to load `smooth_run`."""
    monkeypatch.setattr("clouds.models.unet.build", small.build_smooth)


def smooth_in(precision, smooth_run, tmp_path):
    """A copy of a small run as if trained in a precision."""
    folder = shutil.copytree(smooth_run, tmp_path / "half")
    edit(folder / run_folder.CONFIG, precision=precision)
    return folder


def test_a_run_in_half_precision_keeps_it_and_takes_half_the_space(
    half, jpegs, tmp_path
):
    folder, model = half
    texts = texts_of_export(model, jpegs)
    assert (texts == texts_of_predict(jpegs, tmp_path, folder)).all()
    assert (texts != "").any()
    served = answer_in_session(model / "1", jpegs)["rle"].astype(str)
    assert (served == texts).all()
    weights = (folder / run_folder.WEIGHTS).stat().st_size
    assert stored(model / "1") < 0.55 * weights


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("precision", HALF)
def test_each_of_several_runs_keeps_its_precision(
    smooth_run, jpegs, tmp_path, precision
):
    half = smooth_in(precision, smooth_run, tmp_path)
    runs, model = (half, smooth_run), tmp_path / "model"
    flags = ["--run", *map(str, runs), "--out", str(model), *RULE]
    assert main.main(["export", *flags]) == 0
    texts = texts_of_export(model, jpegs)
    assert (texts == texts_of_predict(jpegs, tmp_path, *runs)).all()
    assert (texts != "").any()
    assert "float16 and float32" in (model / "1" / model_card.MODEL).read_text()


def test_other_loaders_answer_in_half_precision(half, oracle, jpegs, tmp_path):
    _, model = half
    signature = tf.saved_model.load(str(model / "1")).signatures["serving_default"]
    answer = signature(image_bytes=tf.constant(jpegs[:4]))
    answer = {key: value.numpy() for key, value in answer.items()}
    (tmp_path / "requests").write_bytes(
        pickle.dumps([("serving_default", batch_of(jpegs[:4]))])
    )
    paths = [model / "1", tmp_path / "requests", tmp_path / "answers"]
    in_cpp(*paths)
    same([answer], pickle.loads(paths[-1].read_bytes()))
    oracle("serve_export.py", OPS, *paths)
    _, older = pickle.loads(paths[-1].read_bytes())
    np.testing.assert_allclose(older["score"], answer["score"], atol=0.01)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("precision", HALF)
def test_an_export_in_another_precision_warns_that_masks_may_differ(
    smooth_run, tmp_path, capsys, precision
):
    half = smooth_in(precision, smooth_run, tmp_path)
    flags = ["--run", str(half), "--out", str(tmp_path / "model")]
    assert main.main(["export", *flags, "--precision", "float32"]) == 0
    assert "some pixels of their masks may differ" in capsys.readouterr().out
    path = str(tmp_path / "model/1/variables/variables")
    stored = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    assert set(stored.values()) == {tf.float32, tf.string}


def in_cpp(*paths):
    command = [sys.executable, ROOT / "tests/helpers/loader.py", *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=paths[-1].parent)
    assert done.returncode == 0, done.stderr


def test_the_cpp_loader_gives_the_same_without_tensorflows_python(
    of_unet, requests, answers, tmp_path
):
    (tmp_path / "requests").write_bytes(pickle.dumps(requests))
    paths = [of_unet / "1", tmp_path / "requests", tmp_path / "answers"]
    in_cpp(*paths)
    same(answers, pickle.loads(paths[-1].read_bytes()))


def answer_in_session(folder, contents):
    """Answers in a session, like TensorFlow 1 and the C++ loader."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        signature = loaded.signature_def["serving_default"]
        (given,) = signature.inputs.values()
        wanted = {key: output.name for key, output in signature.outputs.items()}
        return session.run(wanted, {given.name: contents})


def test_a_session_gives_the_same_unlike_a_plain_saved_model(
    of_unet, run, jpegs, answers, tmp_path
):
    same(answers[1:2], [answer_in_session(of_unet / "1", jpegs[4:5])])
    model = network.load_one(str(run))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(contents):
        image, _ = preprocessing.decode(contents[0], model.input_shape[1:3])
        return {"probabilities": model(image[None])}

    tf.saved_model.save(model, str(tmp_path), signatures=serve)
    with pytest.raises(tf.errors.FailedPreconditionError, match="find variable"):
        answer_in_session(tmp_path, jpegs[:1])


def graph_of(version):
    contents = (version / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(contents).meta_graphs[0].graph_def


def test_the_signatures_share_one_graph_of_the_network(of_unet):
    functions = graph_of(of_unet / "1").library.function
    convolve = [any(node.op == "Conv2D" for node in one.node_def) for one in functions]
    assert sum(convolve) == 1


def test_the_graph_contains_only_ops_of_old_servers(of_unet):
    graph = graph_of(of_unet / "1")
    functions = graph.library.function
    nodes = [*graph.node, *(node for one in functions for node in one.node_def)]
    unknown = {node.op for node in nodes} - set(OPS.read_text().split())
    assert not unknown, f"Ask TensorFlow 2.15 for them, then add them to {OPS}."
    for node in nodes:
        assert node.attr["data_format"].s in (b"", b"NHWC")
        if node.op.startswith("FusedBatchNorm"):
            assert not node.attr["is_training"].b
    assert not any(one.attr["_XlaMustCompile"].b for one in functions)


def test_tensorflow_2_15_gives_the_same_and_has_a_kernel_for_every_op(
    oracle, of_unet, requests, answers, tmp_path
):
    (tmp_path / "requests").write_bytes(pickle.dumps(requests))
    paths = [of_unet / "1", tmp_path / "requests", tmp_path / "answers"]
    oracle("serve_export.py", OPS, *paths)
    lacking, *others = pickle.loads(paths[-1].read_bytes())
    assert lacking == []
    same(answers, others, tolerance=1e-5)


def test_official_stubs_get_answers_from_the_tests_grpc_server(
    grpc_server, exported, requests
):
    address, _ = grpc_server
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        found = []
        for name, batch in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "clouds"
            request.model_spec.signature_name = name
            key = "image_bytes" if batch.dtype == object else "images"
            tensor = tf.make_tensor_proto(
                batch.tolist() if key == "image_bytes" else batch
            )
            request.inputs[key].CopyFrom(tensor)
            try:
                outputs = stub.Predict(request, timeout=60).outputs
                found.append({key: tf.make_ndarray(outputs[key]) for key in outputs})
            except grpc.RpcError as error:
                found.append(error.code().value[0])
    same(answers_of(exported, requests), found)


def test_the_folder_of_a_run_is_rejected(smooth_run, capsys):
    assert (
        main.main(["export", "--run", str(smooth_run), "--out", str(smooth_run)]) == 2
    )
    assert f"Received: '{smooth_run}', which is a run." in capsys.readouterr().err
    assert not (smooth_run / export.MODELS).exists()


@pytest.mark.usefixtures("small_network")
def test_each_export_is_the_next_version_with_its_rule(
    exported, smooth_run, tmp_path, capsys
):
    rule = checksums.read_json(exported / "1/assets.extra/postprocess.json")
    assert Rule(**rule) == Rule(thresholds=(0.3,) * 4, min_sizes=(500,) * 4)
    for name in ("3", "notes"):
        (tmp_path / name).mkdir()
    flags = ["--run", str(smooth_run), "--out", str(tmp_path)]
    assert main.main(["export", *flags]) == 0
    assert f"{tmp_path / '4'}" in capsys.readouterr().out
    expected = {"3", "4", "notes", export.MODELS, export.BATCHING}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert {path.name for path in (tmp_path / "4").glob("*.md")} == {
        model_card.MODEL,
        model_card.SIGNATURES,
    }
    assert (tmp_path / "4" / export.EXTRA / warmup.FILE).stat().st_size > 1000
    weights = (smooth_run / run_folder.WEIGHTS).stat().st_size
    assert stored(tmp_path / "4") < 1.05 * weights
