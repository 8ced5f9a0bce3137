import pytest
from helpers import tiny_export

from clouds.errors import InputError
from clouds.runs import exports
from clouds.runtime import checksums
from clouds.schema import CLOUDS, RGB, Bands


def test_the_highest_version_is_found_by_number(tmp_path):
    for number in (9, 10):
        (tmp_path / str(number)).mkdir()
    assert exports.highest(str(tmp_path)) == f"{tmp_path}/10"
    (tmp_path / "10" / exports.GRAPH).write_bytes(b"")
    assert exports.highest(f"{tmp_path}/10") == f"{tmp_path}/10"
    with pytest.raises(InputError, match="has no version of a model"):
        exports.highest(f"{tmp_path}/9")


def test_a_version_is_compared_with_its_checksums(tmp_path):
    tiny_export.write(tmp_path)
    version = tmp_path / "1"
    checksums.write_list(version)
    before = exports.checksum(str(version))
    assert exports.load(str(version)).spec == CLOUDS
    (version / "variables/variables.index").write_bytes(b"x")
    with pytest.raises(ValueError, match="has changed since the export"):
        exports.load(str(version))
    checksums.write_list(version)
    assert exports.checksum(str(version)) != before


def test_labels_and_grid_are_those_of_the_export(tmp_path):
    folder = tmp_path / "assets.extra"
    folder.mkdir()
    fields = {"labels": ["ship"], "grid": [10, 20]}
    checksums.write_json(folder / "masks.json", fields)
    assert exports.spec(str(tmp_path)) == (("ship",), (10, 20))
    (folder / "masks.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        exports.spec(str(tmp_path))


def test_bands_are_those_of_the_export(tmp_path):
    tiny_export.write(tmp_path, version=1)
    assert exports.bands(f"{tmp_path}/1") == RGB
    bands = Bands(("vis", "ir"), "uint16")
    tiny_export.write(tmp_path, version=2, bands=bands)
    assert exports.load(f"{tmp_path}/2").bands == bands
