"""What every test runs under: no network, no screen, property tests the same each time."""

import os
import socket
import sys

import pytest
from hypothesis import settings

# Examples follow from the test alone, and no time limit blames it for a busy machine.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("repeatable")

os.environ.setdefault("MPLBACKEND", "Agg")

_LOCAL = ("127.0.0.1", "localhost", "::1")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Refuse connections and look-ups of names that would leave this machine."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connect_locally(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOCAL:
            raise AssertionError(f"a test wanted to connect to {address}")
        return connect(self, address)

    def look_up_locally(host, *args, **kwargs):
        if host not in (*_LOCAL, None, ""):
            raise AssertionError(f"a test wanted to look up {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_locally)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_locally)


@pytest.fixture(autouse=True)
def closed_figures():
    """Close what a test or a doctest has drawn."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
