"""The conventions of the house, held by reflection."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import clouds

MODULES = [
    module.name.removeprefix("clouds.")
    for module in pkgutil.walk_packages(clouds.__path__, "clouds.")
]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_docstring_and_a_test_file(name):
    module = importlib.import_module(f"clouds.{name}")
    assert module.__doc__
    assert (ROOT / "tests" / f"test_{name.split('.')[0]}.py").exists()


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_says_what_it_takes_and_returns(name):
    module = importlib.import_module(f"clouds.{name}")
    for function in vars(module).values():
        if not inspect.isfunction(function) or function.__module__ != module.__name__:
            continue
        if function.__name__.startswith("_"):
            continue
        documentation = inspect.getdoc(function) or ""
        assert documentation, f"{name}.{function.__name__}"
        for parameter in inspect.signature(function).parameters:
            if "Args:" in documentation:
                assert f"{parameter}:" in documentation, (
                    f"{function.__name__}({parameter})"
                )


def test_importing_the_package_imports_nothing_else():
    code = "import clouds, sys; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_floors_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_commands_are_executable():
    for script in (ROOT / "bin").iterdir():
        assert script.stat().st_mode & 0o100, script
        assert script.read_text().startswith("#!")
