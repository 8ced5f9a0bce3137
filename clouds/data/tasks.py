"""The conversion of one image to a record, as a value that fits into JSON."""

import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from clouds.data.annotations import Table


class Task(NamedTuple):
    """One image to convert: its path, its row of the table, and the format wanted."""

    path: str
    table: Table
    size: tuple[int, int]
    grid: tuple[int, int]
    exact: bool


def to_json(tasks: Iterable[Task]) -> str:
    """Writes tasks as JSON."""
    return json.dumps(
        [
            task._replace(
                table=[
                    part.tolist() if isinstance(part, np.ndarray) else part
                    for part in task.table
                ]
            )
            for task in tasks
        ]
    )


def from_json(text: str | bytes) -> list[Task]:
    """Reads what `to_json` wrote."""
    return [_task(*fields) for fields in json.loads(text)]


def _task(path, table, size, grid, exact) -> Task:
    images, texts, rows, source = table
    if texts is not None:
        texts, rows = np.array(texts, object), np.array(rows, np.int64)
    table = Table(images, texts, rows, source)
    return Task(path, table, tuple(size), tuple(grid), exact)
