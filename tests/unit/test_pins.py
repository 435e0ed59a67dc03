"""The pins: everything that is asked for is pinned, and what is pinned is what is installed."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[2]
FILES = ("requirements", "requirements-dev", "requirements-image")


def lines(name: str) -> list[Requirement]:
    found = [line.split("  #")[0].strip() for line in (PROJECT / name).read_text().splitlines()]
    return [Requirement(line) for line in found if line and line[0] not in "#-"]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", FILES)
def test_everything_that_is_asked_for_is_pinned(name: str) -> None:
    pinned = {plain(line.name): line for line in lines(f"{name}.txt")}
    for requested in lines(f"{name}.in"):
        pin = pinned[plain(requested.name)]
        assert str(pin.specifier).startswith("=="), requested
        assert requested.specifier.contains(str(pin.specifier)[2:]), requested


@pytest.mark.parametrize("name", FILES[:2])
def test_what_is_pinned_is_installed(name: str) -> None:
    wrong = {
        line.name: version(line.name)
        for line in lines(f"{name}.txt")
        if (line.marker is None or line.marker.evaluate()) and version(line.name) not in str(line.specifier)
    }
    assert wrong == {}, "Run `make setup`."
