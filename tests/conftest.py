"""What several tests share: a small sample, its records, a run trained on them."""

import fcntl
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

LONG = ("notebook", "export", "train", "end_to_end", "distribution", "predict")
LONG += ("own_data", "docs", "evaluate", "averaging", "serve", "pipeline")
LONG += ("network_parity", "trackers", "make_tfrecords", "augment", "startup", "tune")
LONG += ("request", "docker", "bit_flips", "pretrained", "model_store", "compare")
LONG += ("signatures", "predict_archive", "report", "components", "network")


def pytest_collection_modifyitems(items: list) -> None:
    """Starts the longest files first, so that both processes end at the same time."""
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[..., Path]:
    """Makes a folder once for all processes of pytest-xdist.

    The first process that needs it writes it while the others wait. What tests only
    read is shared; of what they write into, each process gets a copy, whose large files
    are links, since the program replaces files and never changes them.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def share(name: str, write: Callable[[Path], object], *, copy=False) -> Path:
        folder = base / "shared" / name
        folder.parent.mkdir(exist_ok=True)
        with folder.with_suffix(".lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not lock.seek(0, os.SEEK_END):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                write(folder)
                lock.write("written")
        if not copy:
            return folder
        place = tmp_path_factory.mktemp(name) / name
        return Path(shutil.copytree(folder, place, copy_function=_copy))

    return share


def _copy(source, target):
    if Path(source).stat().st_size < 1e6:
        return shutil.copy2(source, target)
    return Path(target).hardlink_to(source)


def _command(*arguments) -> None:
    assert main.main(list(map(str, arguments))) == 0


@pytest.fixture(scope="session")
def sample(shared) -> Path:
    """20 labelled scenes and 3 others, of 96x144 pixels."""
    flags = ["--train", 20, "--test", 3, "--size", "96x144"]
    return shared("sample", lambda out: _command("make_scenes", "--out", out, *flags))


@pytest.fixture(scope="session")
def band_sample(shared) -> Path:
    """16 painted images of two 16-bit bands, 64x96 pixels, with a csv of two labels."""
    from helpers import painters

    return shared("bands", lambda folder: painters.write_band_sample(folder, 16))


@pytest.fixture(scope="session")
def band_records(band_sample, shared) -> Path:
    """The images of two bands as records of 64x96."""
    flags = ["--bands", "native", "--band-names", "vis,ir"]
    return shared(
        "band_records",
        lambda folder: _command(*make_tfrecords(band_sample, folder, *flags)),
    )


@pytest.fixture(scope="session")
def band_run(band_records, shared) -> Path:
    """A run of a small network on the records of two bands, by their statistics."""
    from helpers import small

    flags = ["--preprocess", "statistics", "--show-bands", "ir,vis,vis"]
    flags += ["--epochs", 2, "--batch-size", 4, "--precision", "mixed_bfloat16"]

    def train(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clouds.models.unet.build", small.build)
            _command("train", "--records", band_records, "--run", folder, *flags)

    return shared("band_run", train, copy=True)


@pytest.fixture
def few_pictures(monkeypatch) -> None:
    """Has each picture drawn as often as ever, but written once, which takes longer."""
    from clouds.plots import common

    save = common.save
    monkeypatch.setattr(
        common, "save", lambda figure, path: Path(path).exists() or save(figure, path)
    )


@pytest.fixture
def images(sample, tmp_path) -> Path:
    """Seven images, free to be spoiled."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((sample / "train_images").iterdir())[:7]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def records(sample, shared) -> Path:
    """The sample as records of 64x96."""
    return shared("records", lambda out: _command(*make_tfrecords(sample, out)))


@pytest.fixture(scope="session")
def run(records, shared) -> Path:
    """A run of the real U-Net on the records, two epochs long.

    `smooth_run` takes a fraction of the time to load.
    """
    flags = ["--epochs", 2, "--batch-size", 4, "--precision", "float32"]
    source = ["--records", records]
    return shared(
        "run",
        lambda folder: _command("train", *source, "--run", folder, *flags),
        copy=True,
    )


@pytest.fixture(scope="session")
def evaluated(records, shared) -> Path:
    """A folder of two runs, `a` and `b`, with random weights, evaluated."""
    from helpers import small

    def evaluate(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clouds.models.unet.build", small.build_smooth)
            for seed, name in enumerate("ab"):
                run = small.write_run(folder / name, records, seed=seed)
                flags = ["--threshold", 0.5, "--min-area", 500]
                _command("evaluate", "--records", records, "--run", run, *flags)

    return shared("evaluated", evaluate, copy=True)


@pytest.fixture(scope="module")
def smooth_network() -> Iterator[None]:
    """`small.build_smooth` stands for the U-Net while a file's tests run."""
    from helpers import small

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clouds.models.unet.build", small.build_smooth)
        yield


@pytest.fixture(scope="module")
def smooth_run(records, tmp_path_factory) -> Path:
    """A run with random weights for the network of `smooth_network`."""
    from helpers import small

    folder = tmp_path_factory.mktemp("smooth") / "run"
    return small.write_run(folder, records, batch_size=4)


@pytest.fixture(scope="session")
def in_folds(sample, shared) -> Path:
    """The sample as records in three folds."""
    return shared(
        "folds", lambda out: _command(*make_tfrecords(sample, out, "--folds", "3"))
    )


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
def tiny_model(shared) -> Path:
    """A model's folder with one version, of the signatures that bin/export writes."""
    # After `startup.load`, which keeps TensorFlow quiet.
    from helpers import tiny_export

    return shared("model", tiny_export.write, copy=True)


@pytest.fixture(scope="session")
def exported(records, shared) -> Path:
    """A model with one version, of a small network; its rule leaves most masks."""
    from helpers import small

    def export(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clouds.models.unet.build", small.build_smooth)
            run = small.write_run(folder.with_name("exported_run"), records)
            _command("export", "--run", run, "--out", folder, *RULE)

    return shared("clouds", export, copy=True)


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
