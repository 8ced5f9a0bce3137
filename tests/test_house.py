"""The conventions of the house, checked by reflection."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT

import clouds

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(clouds.__path__, "clouds.")
    if not module.ispkg
)
PACKAGES = sorted(path.parent for path in (ROOT / "clouds").rglob("__init__.py"))


def mirror_of(module):
    """The test file that mirrors a module."""
    package, _, name = module.rpartition(".")
    folder = ROOT / "tests" / "/".join(package.split(".")[1:])
    path = folder / f"test_{name}.py"
    # Settings are tested together, through flags and files.
    return (
        folder / "test_settings.py"
        if folder.name == "config" and not path.exists()
        else path
    )


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_docstring_and_a_test_file(name):
    assert importlib.import_module(name).__doc__
    assert mirror_of(name).exists(), f"{mirror_of(name)} is missing"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_documents_its_parameters(name):
    module = importlib.import_module(name)
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


def test_tests_mirror_modules():
    files = {mirror_of(name) for name in MODULES}
    for package in PACKAGES:
        folder = ROOT / "tests" / package.relative_to(ROOT / "clouds")
        if folder == ROOT / "tests":
            continue
        for path in folder.glob("test_*.py"):
            assert path in files, f"{path} mirrors no module"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_describes_itself_and_imports_nothing(package):
    source = (package / "__init__.py").read_text()
    assert importlib.import_module(".".join(package.relative_to(ROOT).parts)).__doc__
    if package.name not in ("postprocess", "config"):
        assert "import" not in source.rpartition('"""')[2]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_folder_holds_few_modules_of_moderate_length(package):
    entries = [path for path in package.iterdir() if path.name != "__pycache__"]
    # The first level is the table of contents.
    if package.name != "clouds":
        assert len(entries) <= 16
    for path in package.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 350, path


def test_importing_the_package_imports_nothing_else():
    code = "import clouds, sys; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_layers_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_commands_are_executable():
    for script in (ROOT / "bin").iterdir():
        assert script.stat().st_mode & 0o100, script
        assert script.read_text().startswith("#!")
