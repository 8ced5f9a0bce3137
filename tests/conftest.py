"""What several tests share: a small sample, its records, a run trained on them."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.commands import ROOT, RULE, make_tfrecords, serving

from clouds.cli import main
from clouds.runtime import startup

startup.load("tensorflow")

LONG = ("distribution", "notebook", "train", "end_to_end", "network_parity", "augment")
LONG += ("predict", "make_tfrecords", "export", "pretrained", "serve", "parity")
LONG += ("docs", "report", "own_data", "evaluate", "main", "bit_flips", "trackers")
LONG += ("tiled", "gridded")


def pytest_collection_modifyitems(items: list) -> None:
    """Starts the longest files first, so that both processes end at the same time."""
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """20 labelled scenes and 3 others, of 96x144 pixels."""
    folder = tmp_path_factory.mktemp("sample")
    flags = ["--train", "20", "--test", "3", "--size", "96x144"]
    assert main.main(["make_scenes", "--out", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="session")
def band_sample(tmp_path_factory) -> Path:
    """16 painted images of two 16-bit bands, 64x96 pixels, with a csv of two labels."""
    from helpers import painters

    folder = tmp_path_factory.mktemp("bands")
    (folder / "train_images").mkdir()
    rows = ["Image_Label,EncodedPixels"]
    for k, (image, masks) in enumerate(painters.paint_bands(16, (64, 96), 2, 2)):
        name = f"{k:03d}.png"
        painters.write_png(folder / "train_images" / name, image)
        texts = (painters.runs(masks[..., label]) for label in range(2))
        rows += [f"{name}_{a},{text}" for a, text in zip("ab", texts, strict=True)]
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def band_records(band_sample, tmp_path_factory) -> Path:
    """The images of two bands as records of 64x96."""
    folder = tmp_path_factory.mktemp("band_records")
    flags = ["--bands", "native", "--band-names", "vis,ir"]
    assert main.main(make_tfrecords(band_sample, folder, *flags)) == 0
    return folder


@pytest.fixture(scope="session")
def band_run(band_records, tmp_path_factory) -> Path:
    """A run of a small network on the records of two bands, by their statistics."""
    from helpers import small

    folder = tmp_path_factory.mktemp("band_run")
    flags = ["--preprocess", "statistics", "--show-bands", "ir,vis,vis"]
    flags += ["--epochs", "2", "--batch-size", "4", "--precision", "mixed_bfloat16"]
    arguments = ["train", "--records", str(band_records), "--run", str(folder), *flags]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clouds.models.unet.build", small.build)
        assert main.main(arguments) == 0
    return folder


@pytest.fixture
def images(sample, tmp_path) -> Path:
    """Seven images, free to be spoiled."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((sample / "train_images").iterdir())[:7]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def records(sample, tmp_path_factory) -> Path:
    """The sample as records of 64x96."""
    folder = tmp_path_factory.mktemp("records")
    assert main.main(make_tfrecords(sample, folder)) == 0
    return folder


@pytest.fixture(scope="session")
def run(records, tmp_path_factory) -> Path:
    """A run of two epochs on the records."""
    folder = tmp_path_factory.mktemp("run")
    flags = ["--epochs", "2", "--batch-size", "4", "--precision", "float32"]
    arguments = ["train", "--records", str(records), "--run", str(folder), *flags]
    assert main.main(arguments) == 0
    return folder


@pytest.fixture(scope="session")
def evaluated(records, tmp_path_factory) -> Path:
    """A folder of two runs, `a` and `b`, with random weights, evaluated."""
    from helpers import small

    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clouds.models.unet.build", small.build_smooth)
        for seed, name in enumerate("ab"):
            run = small.write_run(folder / name, records, seed=seed)
            flags = ["--records", str(records), "--run", str(run)]
            flags += ["--threshold", "0.5", "--min-area", "500"]
            assert main.main(["evaluate", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def smooth_network() -> Iterator[None]:
    """`small.build_smooth` stands for the U-Net while a file's tests run."""
    from helpers import small

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clouds.models.unet.build", small.build_smooth)
        yield


@pytest.fixture(scope="session")
def in_folds(sample, tmp_path_factory) -> Path:
    """The sample as records in three folds."""
    folder = tmp_path_factory.mktemp("folds")
    assert main.main(make_tfrecords(sample, folder, "--folds", "3")) == 0
    return folder


@pytest.fixture(scope="module")
def fold_runs(in_folds, tmp_path_factory) -> list[str]:
    """A run with random weights for each fold."""
    from helpers import small

    folder = tmp_path_factory.mktemp("fold_runs")
    return [
        str(small.write_run(folder / str(fold), in_folds, fold=fold, seed=fold))
        for fold in range(3)
    ]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model's folder with one version, of the signatures that bin/export writes."""
    # After `startup.load`, which keeps TensorFlow quiet.
    from helpers import tiny_export

    folder = tmp_path_factory.mktemp("model")
    tiny_export.write(folder)
    return folder


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory) -> Path:
    """The run as a model with one version; its rule leaves something of most masks."""
    folder = tmp_path_factory.mktemp("models") / "clouds"
    arguments = ["export", "--run", str(run), "--out", str(folder), *RULE]
    assert main.main(arguments) == 0
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator:
    """Headless Chromium, driven by Selenium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("no chromium and chromedriver on the PATH (Debian's packages)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def grpc_server(exported) -> Iterator[tuple]:
    """The address of a gRPC server of the exported model, and its service."""
    from helpers import grpc_server

    with grpc_server.serving(exported) as (address, service):
        yield address, service


@pytest.fixture(scope="session")
def server(tiny_model, tmp_path_factory) -> Iterator[str]:
    """The URL of bin/serve, with limits that tests can reach."""
    flags = "--max-body 4 --max-pixels 4 --max-images 8 --max-queue 16"
    flags += " --request-timeout 3"
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with serving(tiny_model, log, *flags.split()) as (url, process):
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    # What clients do is no fault of the server's.
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="session")
def oracle() -> Callable[..., None]:
    """Runs a script of tests/addons in the peers' environment, where there is one."""
    default = ROOT / ".venv-oracle/bin/python"
    python = Path(os.environ.get("CLOUDS_ORACLE", default))
    if not python.exists():
        pytest.skip(f"no oracle environment at {python}; `bin/test --oracle` makes it")

    def run_script(name: str, *arguments: Path) -> None:
        command = [python, ROOT / "tests/addons" / name, *arguments]
        environment = os.environ | {"SM_FRAMEWORK": "tf.keras"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return run_script


@pytest.fixture
def copy_of_sample(sample, tmp_path) -> Path:
    """The sample, free to be spoiled."""
    return Path(shutil.copytree(sample, tmp_path / "sample"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real images and labels, where they are to be had."""
    folder = Path(os.environ.get("CLOUDS_DATA", ROOT.parent / "shared/data/clouds"))
    if not (folder / "train.csv.xz").exists():
        pytest.skip(f"no real data in {folder}; CLOUDS_DATA may name its place")
    return folder
