"""What a folder of predictions was made with, so that what is cut off goes on.

`predict.json` or `request.json` holds the settings and what came of them. Until every
image is answered `predict.jsonl.part` or `request.jsonl.part` lies there too, the
journal of those that are. Predictions of other settings are never mixed in.
"""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

from clouds.errors import InputError
from clouds.prediction import outputs
from clouds.prediction.journal import Journal
from clouds.runtime import files

_FILES = {
    name: (f"{name}.json", f"{name}.jsonl.part") for name in ("predict", "request")
}
"""Of each command: what came of it, and its journal."""
_CHECKSUMS = {"weights": "other weights", "order": "other images or another order"}
"""Of the settings, and how it reads that two of them differ."""


class Results:
    """The folder of `bin/predict` or `bin/request`, which alone writes there.

    Args:
      out: the folder.
      command: of these two.
      known: what predictions must have in common to be of one folder, as JSON.

    Attributes:
      journal: what is predicted so far.
      stored: what came of an earlier call that ended; empty if none did.
    """

    def __init__(self, out: Path, command: str, known: dict):
        """Reads what lies there.

        Raises:
          InputError: it is damaged.
        """
        self._out, self._command = out, command
        self._known = json.loads(json.dumps(known))
        self._path, journal = (out / name for name in _FILES[command])
        self.journal = Journal(journal)
        self.stored = self._read()
        self._there = self.journal.settings or self.stored.get("settings")

    def finished(self, names: Iterable[str]) -> bool:
        """Whether nothing is left to do.

        Args:
          names: of the files that must be there.
        """
        return (
            self.stored.get("settings") == self._known
            and not self.stored["unreadable"]
            and all((self._out / name).is_file() for name in names)
        )

    def check(self) -> None:
        """Refuses to go on with predictions of other settings, or of unknown ones.

        Raises:
          InputError: such are there.
        """
        there, here = self._there, self._known
        if there is None:
            others = (_FILES[name] for name in _FILES if name != self._command)
            names = itertools.chain(outputs.FILES, *others)
            differing = [name for name in names if (self._out / name).exists()]
            received = f"{' and '.join(differing)} of unknown settings"
        else:
            differing = [name for name in here if there.get(name) != here[name]]
            received = "; ".join(
                _CHECKSUMS.get(name) or _apart(name, there.get(name), here[name])
                for name in differing
            )
        if differing:
            raise InputError(
                "--out must be a new folder, or hold predictions of the same settings. "
                f"Received: '{self._out}', with {received}. Give another folder, or "
                "--overwrite."
            )

    def begin(self, *, anew: bool) -> None:
        """Goes on from the journal, or begins one.

        Args:
          anew: whether what is predicted is given up.
        """
        if not anew and self.journal.settings is not None:
            return
        for name in itertools.chain(*_FILES.values()):
            (self._out / name).unlink(missing_ok=True)
        outputs.clear(self._out, self._there or {})
        self.journal.begin(self._known)

    def end(self, faults: dict[str, str], **facts) -> None:
        """Keeps what came of it; the journal goes where every image is answered.

        Args:
          faults: what is wrong with the others, by their names.
          **facts: to keep beside the settings.
        """
        facts |= {"settings": self._known, "images": len(self.journal)}
        files.write_json(self._path, {**facts, "unreadable": list(faults)})
        if not faults:
            self.journal.path.unlink()

    def _read(self) -> dict:
        try:
            return json.loads(self._path.read_text()) if self._path.is_file() else {}
        except ValueError as error:
            raise InputError(
                "What came of a prediction must be as "
                f"bin/{self._command} writes it. Received: {self._path}, damaged "
                f"({error}). Remove it, and what lies beside it is made anew with "
                "--overwrite."
            ) from error


def _apart(name: str, there, here) -> str:
    """Says how a setting differs, with all digits only where fewer would hide it."""
    shown = [json.dumps(_rounded(value)) for value in (there, here)]
    if shown[0] == shown[1]:
        shown = [json.dumps(value) for value in (there, here)]
    return f"{name} {shown[0]} there, {shown[1]} here"


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
