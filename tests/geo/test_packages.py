import pytest

from clouds.errors import InputError
from clouds.geo import packages


def test_missing_packages_are_named_with_what_installs_them():
    packages.check("--zarr", "json")
    with pytest.raises(InputError) as error:
        packages.check("--zarr", "json", "no_such", "nor_this")
    assert str(error.value) == (
        "no_such and nor_this are not installed, which --zarr needs. Run bin/setup "
        "geo, or pip install no_such nor_this."
    )
