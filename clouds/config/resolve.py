"""A command's settings from what was given."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from clouds.config.training import Training
from clouds.errors import InputError

FILE = "config.json"
"""In a run's folder: what it was trained with."""


def from_flags(settings: type, flags: Mapping):
    """Makes a command's settings of its flags.

    Args:
      settings: the class of the command's settings.
      flags: the fields that were given.

    Returns:
      The settings; those of training, where `run` holds a run to go on with, have
      its own values for what was not given.

    Raises:
      InputError: values out of range, or a run with damaged settings.
    """
    own = None
    if settings is Training and not flags.get("overwrite"):
        own = of_run(flags["run"])
    return dataclasses.replace(own, **flags) if own else settings(**flags)


def of_run(folder: str) -> Training | None:
    """Reads the settings that a run was trained with; None where there is no run.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text())
        fields["size"] = tuple(fields["size"])
        return Training(**{**fields, "overwrite": False})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"Settings must be as bin/train writes them. Received: {path}, damaged or "
            f"of another version ({error}). Train again with --overwrite."
        ) from error
