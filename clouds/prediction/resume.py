"""The settings and results of a folder of predictions, for resuming.

`predict.json` or `request.json` holds the settings and the result. While images are
missing there is also `predict.jsonl.part` or `request.jsonl.part`, the journal of the
finished ones. Predictions with other settings are never mixed.
"""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

from clouds.errors import InputError
from clouds.prediction import outputs
from clouds.prediction.journal import Journal
from clouds.runtime import checksums

_FILES = {
    name: (f"{name}.json", f"{name}.jsonl.part") for name in ("predict", "request")
}
"""Result and journal of each command."""
_TYPES = {"settings": {}, "unreadable": [str], "images": int}
_CHECKSUMS = {"weights": "other weights", "order": "other images or another order"}
"""Settings that are checksums, and how their difference is reported."""


class Results:
    """The folder of `bin/predict` or `bin/request`.

    Args:
      out: the folder.
      command: name of the command.
      identity: what all predictions in one folder must have in common, as JSON.
      facts: what the files were made of besides, such as places: they are made again
        from the journal if it differs.

    Attributes:
      journal: images finished so far.
      stored: result of an earlier finished call; empty without one.
    """

    def __init__(
        self, out: Path, command: str, identity: dict, facts: dict | None = None
    ):
        """Reads the folder.

        Raises:
          InputError: a file is damaged.
        """
        self._out, self._command = out, command
        self._identity = json.loads(json.dumps(identity))
        self._facts = facts or {}
        self._path, journal = (out / name for name in _FILES[command])
        self.journal = Journal(journal)
        self.stored = self._read()
        self._stored_identity = self.journal.settings or self.stored.get("settings")

    def finished(self, names: Iterable[str]) -> bool:
        """Returns whether nothing is left to do.

        Args:
          names: names of the files that must exist.
        """
        return (
            _given(self.stored.get("settings", {})) == _given(self._identity)
            and not self.stored["unreadable"]
            and not self.stored.get("unplaced")
            and not self._changed()
            and all((self._out / name).is_file() for name in names)
        )

    def check(self) -> None:
        """Rejects a folder with predictions of other or unknown settings.

        Raises:
          InputError: the folder holds such predictions.
        """
        stored, requested = self._stored_identity, self._identity
        if stored is None:
            others = (_FILES[name] for name in _FILES if name != self._command)
            names = itertools.chain(outputs.FILES, *others)
            existing = [name for name in names if (self._out / name).exists()]
            differences = [f"{name} of unknown settings" for name in existing]
        else:
            differences = [
                _CHECKSUMS.get(name) or _difference(name, stored.get(name), value)
                for name, value in requested.items()
                if stored.get(name) != value
            ]
            if self.journal.settings is None:
                differences += self._changed()
        if differences:
            raise InputError(
                f"--out: '{self._out}' holds other predictions: "
                f"{'; '.join(differences)}. Give another folder, or --overwrite."
            )

    def start(self, *, overwrite: bool) -> None:
        """Resumes the journal, or starts a new one.

        Args:
          overwrite: whether to discard existing predictions.
        """
        if not overwrite and self.journal.settings is not None:
            return
        for name in itertools.chain(*_FILES.values()):
            (self._out / name).unlink(missing_ok=True)
        outputs.clear(self._out, self._stored_identity or {})
        self.journal.start(self._identity)

    def end(
        self, faults: dict[str, str], unplaced: Iterable[str] = (), **facts
    ) -> None:
        """Stores the result, and removes the journal if no image is missing.

        Args:
          faults: errors of unreadable images, by their names.
          unplaced: names of images without a place.
          **facts: facts to store.
        """
        unplaced = list(unplaced)
        facts |= {**self._facts, **({"unplaced": unplaced} if unplaced else {})}
        facts |= {"settings": self._identity, "images": len(self.journal)}
        checksums.write_json(self._path, {**facts, "unreadable": list(faults)})
        if not faults and not unplaced:
            self.journal.path.unlink()

    def _changed(self) -> list[str]:
        """Returns which facts differ from those of a finished prediction."""
        return [
            f"other {name}"
            for name, value in self._facts.items()
            if self.stored.get(name, value) != value
        ]

    def _read(self) -> dict:
        try:
            if not self._path.is_file():
                return {}
            return checksums.read_json(self._path, _TYPES)
        except ValueError as error:
            raise InputError(
                f"{self._path} is damaged ({error}). Remove it, and make the "
                "predictions again with --overwrite."
            ) from error


def _given(settings: dict) -> dict:
    """Returns the settings that are given; earlier versions did not store all."""
    return {name: value for name, value in settings.items() if value is not None}


def _difference(name: str, stored, requested) -> str:
    """Describes the difference of a setting, in full digits only if necessary."""
    shown = [json.dumps(_rounded(value)) for value in (stored, requested)]
    if shown[0] == shown[1]:
        shown = [json.dumps(value) for value in (stored, requested)]
    return f"{name} {shown[0]}, not {shown[1]}"


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
