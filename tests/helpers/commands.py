"""The commands as tests call them."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from clouds.cli import main

ROOT = Path(__file__).parents[2]
RULE = ["--threshold", "0.3", "--min-area", "500"]
# For JAX in a process of its own, which compiles most of the time: twice as fast. With
# `cached_jax`, processes of a test share what they compile.
QUICK_JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=1 "
    "--xla_llvm_disable_expensive_passes=true",
}


def cached_jax(folder: Path) -> dict[str, str]:
    """Returns `QUICK_JAX` with a folder for compiled code."""
    at_once = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {**QUICK_JAX, **at_once, "JAX_COMPILATION_CACHE_DIR": str(folder)}


def make_tfrecords(sample: Path, out: Path, *flags: str) -> list[str]:
    """The arguments that make small records of a sample."""
    source = ["--csv", str(sample / "train.csv")]
    source += ["--images", str(sample / "train_images")]
    options = ["--out", str(out), "--size", "64x96", "--workers", "1", *flags]
    return ["make_tfrecords", *source, *options]


def refused(capsys, arguments: list[str], message: str) -> str:
    """Runs a command that ends with exit code 2 and one line; returns the line."""
    capsys.readouterr()
    assert main.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error, error
    assert error.count("\n") == 0
    assert "Traceback" not in error
    return error


@contextlib.contextmanager
def serving(model: Path, log: Path, *flags: str) -> Iterator[tuple]:
    """Runs bin/serve: its URL and its process."""
    command = [sys.executable, "-m", "clouds.cli.main", "serve", "--model", str(model)]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
        )
    with process:
        try:
            line = process.stdout.readline()
            assert "http://" in line, log.read_text()
            yield line.split()[-1].rstrip("/"), process
        finally:
            process.kill()
