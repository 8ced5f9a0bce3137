"""Mutates the code of central modules, and counts the mutants that their tests kill.

Cosmic Ray makes the mutants (`pip install cosmic-ray`). Each runs in a process forked
after the imports, so that it takes a second or two. Survivors are printed as diffs.

    python tests/faults/mutants.py [COUNT [MODULE ...]]
"""

import contextlib
import difflib
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401 (imported once, before the forks)
import pandas as pd  # noqa: F401
import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
TESTS = {
    "clouds.rle": "tests/test_rle.py",
    "clouds.metrics": "tests/test_metrics.py",
    "clouds.data.splits": "tests/data/test_splits.py",
    "clouds.data.records": "tests/data/test_records.py",
    "clouds.postprocess.components": "tests/postprocess/test_components.py",
    "clouds.postprocess.apply": "tests/postprocess/test_apply.py",
}
"""The modules, and the tests that must notice their mutants."""

_SECONDS = 120


class _Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module from mutated code."""

    def __init__(self, module: str, code: str):
        self._module, self._code = module, code

    def find_spec(self, name, path=None, target=None):
        if name == self._module:
            return importlib.util.spec_from_loader(name, self)
        return None

    def exec_module(self, module) -> None:
        exec(compile(self._code, module.__name__, "exec"), module.__dict__)


def mutants(code: str) -> Iterator[str]:
    """Yields all mutants of a module, except those of its type hints."""
    for name in operator_names():
        # `X | None` in hints is no sum of bits. Others need the names of variables.
        if "BitOr" in name or get_operator(name).arguments():
            continue
        operator, occurrence = get_operator(name)(), 0
        while (mutated := mutate_code(code, operator, occurrence)) is not None:
            yield mutated
            occurrence += 1


def is_killed(module: str, code: str) -> bool:
    """Runs the tests of a module on a mutant, in a forked process."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0
    try:
        signal.alarm(_SECONDS)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.meta_path.insert(0, _Mutant(module, code))
        flags = ["-x", "-q", "-p", "no:cacheprovider", "--no-header"]
        code = pytest.main([*flags, str(ROOT / TESTS[module])])
        os._exit(int(code))
    finally:
        os._exit(1)


def tried(module: str, count: int) -> tuple[int, list[str]]:
    """Returns how many of some random mutants were killed, and the survivors' diffs."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    code, survivors = path.read_text(), []
    assert not is_killed(module, code), f"The tests of {module} fail."
    every = [mutated for mutated in mutants(code) if mutated != code]
    chosen = random.Random(0).sample(every, min(count, len(every)))
    for mutated in chosen:
        if not is_killed(module, mutated):
            lines = difflib.unified_diff(code.split("\n"), mutated.split("\n"), n=0)
            changed = [line for line in lines if line[:1] in "+-@"][2:]
            survivors.append("\n".join(changed))
            print(f"{module} survives:\n{survivors[-1]}", file=sys.stderr, flush=True)
    return len(chosen) - len(survivors), survivors


def long_form(count: int, *modules: str) -> None:
    """Prints the share of killed mutants of each module."""
    for module in modules or TESTS:
        killed, survivors = tried(module, count)
        total = killed + len(survivors)
        print(f"{module}: {killed} of {total} killed", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        # Without an operation before the forks, TensorFlow has no threads yet.
        import tensorflow as tf  # noqa: F401
    os.chdir(ROOT)
    long_form(*map(int, sys.argv[1:2] or [50]), *sys.argv[2:])
