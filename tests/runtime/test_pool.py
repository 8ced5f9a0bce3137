import json
import os
import subprocess
import sys

import pytest
from helpers.commands import ROOT

from clouds.runtime import pool


def test_in_this_process_results_come_lazily_and_in_order(monkeypatch):
    monkeypatch.setattr(pool, "_CHUNK", 2)
    calls = []

    def double(tasks):
        calls.append(tasks)
        return [2 * task for task in tasks]

    results = pool.in_processes(double, range(5), workers=1)
    assert next(results) == 0
    assert calls == [[0, 1]]
    assert list(results) == [2, 4, 6, 8]


def test_workers_do_not_import_modules_of_the_working_folder(tmp_path):
    for name in ("json", "yaml", "socket", "pickle", "tensorflow"):
        path = tmp_path / f"{name}.py"
        path.write_text(f"open('imported-{name}', 'w')\nraise SystemExit(9)\n")
    script = tmp_path / "elsewhere" / "parent.py"
    script.parent.mkdir()
    script.write_text(
        "from clouds.runtime import pool\n"
        "def double(tasks): return [2 * task for task in tasks]\n"
        "if __name__ == '__main__':\n"
        "    print(*pool.in_processes(double, range(3), 2))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)
    ended = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert ended.stdout == "0 2 4\n", ended.stderr
    assert not list(tmp_path.glob("imported-*"))


def test_a_pool_ends_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import concurrent.futures, multiprocessing, os, time\n"
        "from clouds.runtime import pool as workers\n"
        "if __name__ == '__main__':\n"
        "    pool = concurrent.futures.ProcessPoolExecutor(\n"
        "        1, multiprocessing.get_context('spawn'), workers.start_worker)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert parent.returncode == -9, parent.stderr
    worker = json.loads(parent.stdout)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail(f"worker {worker} outlived its parent by 10 s")
