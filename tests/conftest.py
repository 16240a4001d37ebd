"""Fixtures that several folders of tests share."""

import tempfile

import pytest


@pytest.fixture
def temporary_folder(monkeypatch, tmp_path):
    """Let Python write its temporary files to a folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path
