"""The built canvas: what is committed is what its source gives, and nothing in it needs another host."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crossdock.settings import PROJECT

SOURCE = PROJECT / "plugins" / "console" / "canvas"
BUILT = PROJECT / "plugins" / "console" / "static" / "canvas"


def test_the_bundle_is_what_its_source_gives(tmp_path: Path):
    if shutil.which("node") is None:
        pytest.skip("There is no node: the bundle is not built anew")
    if not (SOURCE / "node_modules" / "vite").exists():
        pytest.skip("Its packages are not installed: npm ci --prefix plugins/console/canvas")
    vite = SOURCE / "node_modules" / ".bin" / "vite"
    subprocess.run([vite, "build", "--outDir", tmp_path / "built"], cwd=SOURCE, check=True, capture_output=True)
    built = {path.name: path.read_bytes() for path in (tmp_path / "built").iterdir()}
    committed = {path.name: path.read_bytes() for path in BUILT.iterdir()}
    assert built.keys() == committed.keys() == {"canvas.js", "canvas.css"}
    assert built == committed, "build it anew: make canvas"


def test_the_bundle_keeps_to_the_pages_policy():
    script, style = ((BUILT / name).read_text() for name in ("canvas.js", "canvas.css"))
    assert not re.search(r"\beval\(|new Function\(|import\(", script)
    assert not re.search(r"url\(|@import|https?:", style)
    hosts = set(re.findall(r"https?://([\w.-]+)", script))
    assert hosts <= {"www.w3.org", "react.dev", "reactflow.dev"}, "names of namespaces and of explanations only"


def test_packages_are_pinned_and_name_no_registry():
    package = json.loads((SOURCE / "package.json").read_text())
    wanted = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    for name, one in lock["packages"].items():
        assert "resolved" not in one, name
        if name and not one.get("optional"):
            assert one["integrity"].startswith("sha512-")
        if name.removeprefix("node_modules/") in wanted:
            assert one["version"] == wanted[name.removeprefix("node_modules/")]
