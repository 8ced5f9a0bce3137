"""The notebook for Colab, run from top to bottom on a small sample."""

import asyncio
import concurrent.futures
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.commands import ROOT

TEXT = (ROOT / "notebooks/clouds_colab.ipynb").read_text()
CELLS = json.loads(TEXT)["cells"]
VERSIONS = (ROOT / "tests/colab/requirements.txt").read_text()


def test_it_holds_no_outputs():
    assert not any(cell.get("outputs") for cell in CELLS)
    assert not any(cell.get("execution_count") for cell in CELLS)


def test_its_cells_are_short():
    assert max(len(cell["source"]) for cell in CELLS) < 30


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """It ran with these versions and a small network; where it worked."""
    folder = tmp_path_factory.mktemp("notebook")
    command = folder / "bin/clouds"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/helpers/small.py "$@"\n'
    )
    command.chmod(0o755)
    paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return _execute(folder, sys.executable, paths), folder


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """It ran with Colab's versions, and cloned and installed the project itself."""
    default = ROOT / ".venv-colab/bin/python"
    python = Path(os.environ.get("CLOUDS_COLAB", default))
    if not python.exists():
        pytest.skip(f"no versions of Colab at {python}; `bin/test --colab` makes them")
    # The project from an earlier run, and a package that the notebook then installs.
    uninstall = [python, "-m", "pip", "uninstall", "--yes", "cloud-patterns", "tqdm"]
    subprocess.run(uninstall, check=True, capture_output=True)
    folder = tmp_path_factory.mktemp("colab")
    paths = {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    outputs = _execute(folder, str(python), paths, folder, SOURCE=str(ROOT))
    return outputs, folder, python


def _execute(
    folder, python, paths, cwd=ROOT / "notebooks", cells=slice(None), **settings
):
    """Runs the notebook, small and without a token; returns what it put out."""
    for package in ("nbclient", "ipykernel"):
        if not importlib.util.find_spec(package):
            pytest.skip(f"no {package}; `bin/setup test` installs it")
    import jupyter_client
    import nbclient
    import nbformat

    settings = {"STORE": f"{folder}/kept", "WORK": str(folder), **settings}
    settings |= {"SIZE": "64x96", "EPOCHS": 1, "BATCH_SIZE": 4, "SCENES": 10}
    notebook = nbformat.reads(TEXT, 4)
    notebook.cells = notebook.cells[cells]
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {v!r}" for name, v in settings.items())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KAGGLE")}
    environment |= paths | {"HOME": str(folder)}
    where = {"metadata": {"path": str(cwd)}}
    # Sockets that are files, of short paths: a free port may be taken before the kernel
    # takes it. In a thread: in the main one nbclient would catch the signals that shall
    # end the tests, end the kernel alone, and fail for want of it.
    with (
        tempfile.TemporaryDirectory() as sockets,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        kernel = jupyter_client.AsyncKernelManager(transport="ipc", ip=f"{sockets}/s")
        kernel.kernel_spec.argv[0] = python
        client = nbclient.NotebookClient(
            notebook, km=kernel, timeout=600, startup_timeout=200, resources=where
        )
        executed = client.async_execute(env=environment, cleanup_kc=True)
        thread.submit(asyncio.run, executed).result()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


GCLOUD = """#!/bin/sh
# gcloud storage rsync --recursive FROM TO, of gs:// in a folder
from=$(echo "$4" | sed "s|gs:/|$BUCKETS|") to=$(echo "$5" | sed "s|gs:/|$BUCKETS|")
[ -d "$from" ] || { echo "ERROR: no $4" >&2; exit 1; }
mkdir -p "$to" && cp -r "$from/." "$to"
"""


def test_a_bucket_is_made_at_the_first_start_and_copied_back_at_the_next(tmp_path):
    gcloud = tmp_path / "bin/gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(GCLOUD)
    gcloud.chmod(0o755)
    (tmp_path / "google").mkdir()
    (tmp_path / "google/colab.py").write_text(
        "class auth:\n    authenticate_user = staticmethod(lambda: None)"
    )
    commands = Path(sys.executable).parent
    paths = {"PATH": f"{gcloud.parent}:{commands}:{os.environ['PATH']}"}
    paths |= {"PYTHONPATH": f"{ROOT}:{tmp_path}", "BUCKETS": str(tmp_path / "buckets")}
    for work in ("first", "next"):
        folder = tmp_path / work
        folder.mkdir()
        outputs = _execute(
            folder, sys.executable, paths, cells=slice(13), STORE="gs://bucket/clouds"
        )
        assert "ERROR" not in _printed(outputs)
        kept = tmp_path / "buckets/bucket/clouds/run"
        if work == "first":
            (kept / "config.json").write_text("{}")
    assert (folder / "run/config.json").exists()


def _check(outputs, folder):
    rows = (folder / "found/submission_post.csv").read_text().splitlines()
    assert len(rows) == 1 + 8 * 4
    assert (folder / "kept/records/manifest.json").exists()
    assert (folder / "kept/run/best.weights.h5").exists()
    assert (folder / "export/1/saved_model.pb").exists()
    assert (folder / "export.zip").exists()
    assert "<html" in (folder / "report.html").read_text()
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 4
    printed = _printed(outputs)
    assert "best constant" in printed
    assert "cross-fitted" in printed
    assert "error" not in printed.replace("ModuleNotFoundError", "").lower()


def _printed(outputs):
    return "".join(output.get("text", "") for output in outputs)


def test_it_runs_from_top_to_bottom(here):
    _check(*here)


def test_it_runs_with_the_versions_of_colab_and_leaves_them_alone(colab):
    outputs, folder, python = colab
    _check(outputs, folder)
    assert "installed: tqdm" in _printed(outputs)
    command = [python, "-m", "pip", "list", "--format=freeze"]
    there = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pinned = [line for line in VERSIONS.splitlines() if "==" in line]
    assert set(pinned) <= set(there.splitlines())
