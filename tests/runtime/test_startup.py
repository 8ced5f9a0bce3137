import json
import os
import subprocess
import sys

import pytest
from helpers.commands import ROOT

from clouds.runtime import startup


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_tensorflow_starts_without_output():
    code = (
        "from clouds.runtime import startup\n"
        "print(startup.load('tensorflow').constant(7).numpy())"
    )
    ended = python(code)
    assert ended.stdout == "7\n"
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("flags", "own", "chosen"),
    [("fma avx2", None, "1"), ("sse4_2", None, None), ("avx2", "0", "0")],
)
def test_onednn_is_turned_on_for_cpus_that_gain(monkeypatch, flags, own, chosen):
    monkeypatch.setattr(startup.Path, "exists", lambda path: True)
    monkeypatch.setattr(startup.Path, "read_text", lambda path: f"flags : {flags}\n")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if own is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", own)
    startup._choose_kernels()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == chosen
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen or "")
    assert startup.kernels()["cpu"] == ("avx2" if "avx2" in flags else "other")


def test_libraries_log_from_the_given_level():
    code = (
        "import logging\n"
        "from clouds.runtime import startup\n"
        "startup.log_from({level!r})\n"
        "tensorflow = startup.load('tensorflow')\n"
        "logging.getLogger('library').info('a word')\n"
        "tensorflow.constant(7)\n"
    )
    shown = python(code.format(level="info")).stderr
    assert "a word" in shown
    assert "cpu_feature_guard" in shown
    assert python(code.format(level="error")).stderr == ""


@pytest.mark.parametrize("level", [None, "info", "warning"])
def test_progress_is_logged_unless_only_warnings_are(level):
    code = (
        "import logging\n"
        "from clouds.runtime import startup\n"
        f"startup.log_from({level!r})\n"
        "logging.getLogger('clouds.runtime.progress').info('half')\n"
        "logging.getLogger('library').info('a word')\n"
        "logging.getLogger('library').warning('beware')\n"
    )
    shown = python(code).stderr
    assert ("half" in shown, "a word" in shown, "beware" in shown) == (
        level != "warning",
        level == "info",
        True,
    )


def test_the_layout_and_float_type_of_keras_json_are_not_followed(tmp_path):
    fields = {"image_data_format": "channels_first", "floatx": "float64"}
    (tmp_path / "keras.json").write_text(json.dumps(fields | {"epsilon": 0.1}))
    code = (
        "from clouds.runtime import startup\n"
        "config = startup.load('keras').config\n"
        "print(config.image_data_format(), config.floatx(), config.epsilon())"
    )
    shown = python(code, KERAS_HOME=str(tmp_path)).stdout
    assert shown.split() == ["channels_last", "float32", "1e-07"]


@pytest.mark.parametrize("source", ["KERAS_BACKEND", "keras.json"])
def test_another_backend_of_keras_is_refused(source, tmp_path):
    environment = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
    if source == "KERAS_BACKEND":
        environment[source] = "torch"
    else:
        (tmp_path / source).write_text('{"backend": "torch"}')
    ended = python(
        "import sys\n"
        "from clouds.cli.main import main\n"
        "sys.exit(main(['describe', '--csv', 'a.csv', '--out', 'a']))",
        **environment,
    )
    assert ended.returncode == 2
    assert "must be tensorflow or jax. Received: 'torch'" in ended.stderr
    assert source in ended.stderr
    assert "Traceback" not in ended.stderr


def test_held_back_output_is_shown_if_the_import_fails(tmp_path):
    (tmp_path / "broken.py").write_text(
        "import os\nos.write(2, b'the reason')\nraise ImportError('broken')\n"
    )
    ended = python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from clouds.runtime import startup\n"
        "startup.load('broken')"
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("the reason")
    assert "ImportError: broken" in ended.stderr


def test_held_back_output_is_not_shown_if_the_import_is_interrupted(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os\nos.write(2, b'a notice')\nraise KeyboardInterrupt\n"
    )
    ended = python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from clouds.runtime import startup\n"
        "startup.load('slow')"
    )
    assert "KeyboardInterrupt" in ended.stderr
    assert "a notice" not in ended.stderr


def test_a_training_process_convolves_with_its_current_kernel():
    code = (
        "from clouds.runtime import startup\n"
        "startup.freeze_kernels()\n"
        "startup.thaw_kernels()\n"
        "tf = startup.load('tensorflow')\n"
        "images = tf.ones([1, 32, 32, 16])\n"
        "kernel = tf.Variable(tf.ones([3, 3, 16, 16]))\n"
        "convolve = tf.function(lambda: tf.nn.conv2d(images, kernel, 1, 'VALID'))\n"
        "before = convolve()[0, 0, 0, 0]\n"
        "kernel.assign(3 * kernel)\n"
        "print(float(convolve()[0, 0, 0, 0] / before))\n"
    )
    assert python(code).stdout == "3.0\n"


def test_closed_streams_do_not_lend_their_numbers_to_files(tmp_path):
    code = (
        "import os, sys\n"
        "from clouds.runtime import startup\n"
        "startup.open_streams()\n"
        "file = open(sys.argv[1], 'w')\n"
        "print('out', flush=True); print('err', file=sys.stderr, flush=True)\n"
        "os.write(2, b'as libraries write'); assert sys.stdin.read() == ''\n"
        "file.write('data')\n"
    )
    path = tmp_path / "file"
    command = [sys.executable, "-c", code, str(path)]
    shell = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *command]
    assert subprocess.run(shell, cwd=ROOT).returncode == 0
    assert path.read_text() == "data"
