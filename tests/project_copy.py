"""A copy of the project in a folder of a test's own, for tests that change its code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from crossdock.settings import PROJECT

PARTS = ("include", "plugins", "dags", "tests", "docs", "pyproject.toml", "README.md", "Makefile")


@dataclass(frozen=True)
class ProjectCopy:
    """The copy, and the database that its commands work on."""

    folder: Path
    database_url: str

    def run(self, *words: str, code: int = 0) -> str:
        """Output of Python with these words, in the copy. Asserts the exit code."""
        paths = [str(self.folder / name) for name in ("include", "plugins", "tests")]
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "CROSSDOCK_CONFIG"))
        }
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "AIRFLOW_CONN_CROSSDOCK": self.database_url}
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def crossdock(self, *words: str, code: int = 0) -> str:
        """Output of the command line."""
        return self.run("-c", "from crossdock.cli import main; main()", *words, code=code)

    def replace(self, path: str, old: str, new: str) -> None:
        """Changes a file of the copy."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, (path, old, text.count(old))
        file.write_text(text.replace(old, new), encoding="utf-8")


def project_copy(folder: Path, database_url: str) -> ProjectCopy:
    for name in PARTS:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    return ProjectCopy(folder, database_url)
