"""The limits of what comes from outside: what is too large is refused unopened, and a limit that is none is named."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from crossdock import settings
from crossdock.errors import ConfigError
from crossdock.systems.inbox import Inbox


def test_a_file_that_is_too_large_is_refused_unopened_and_the_others_are_read(tmp_path: Path):
    folder = tmp_path / "stock" / "warehouse"
    folder.mkdir(parents=True)
    with (folder / "large.csv").open("wb") as file:
        file.truncate(400_000_000)
    (folder / "small.csv").write_text("reference,sku\n")
    os.utime(folder / "small.csv", (1, 1))
    tracemalloc.start()
    reported = [json.loads(bytes(row)) for page in Inbox(tmp_path).pages("stock") for row in page.records]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000
    (large,) = [one for one in reported if one["File"] == "large.csv"]
    assert large["RefusedFor"] == "too_large"
    assert "400,000,000" in json.dumps(large)


@pytest.mark.parametrize(
    "line", ["record_depth: 100000", "key_bytes: 5000", "file_bytes: 0", "clock_minutes: soon", "more: 1"]
)
def test_a_limit_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    name = line.partition(":")[0]
    text = (settings.config_dir() / "intake.yaml").read_text().splitlines()
    kept = [one for one in text if not one.startswith(name)]
    (tmp_path / "intake.yaml").write_text("\n".join([*kept, line]))
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=name):
        settings.intake()
