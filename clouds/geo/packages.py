"""Optional packages: one error for all that are missing."""

import importlib.util

from clouds.errors import InputError


def check(flag: str, *names: str) -> None:
    """Rejects a flag if a package that it needs is not installed.

    Args:
      flag: the flag, for the error.
      *names: names under which the packages are installed and imported.

    Raises:
      InputError: some are not installed.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"{' and '.join(missing)} {are} not installed, which {flag} needs. Run "
            f"bin/setup geo, or pip install {' '.join(missing)}."
        )
