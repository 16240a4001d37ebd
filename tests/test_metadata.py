"""What is tested as the oldest version is what the metadata call the oldest."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_oldest_versions_are_those_of_the_metadata():
    oldest = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / ".ci/oldest.txt").read_text(), re.M))
    text = (ROOT / "pyproject.toml").read_text()
    required = re.search(r"^dependencies = \[(.*?)\]", text, re.M | re.S)[1]
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', required))
    assert bounds and bounds == {name: oldest[name] for name in bounds}
    every = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', text))
    assert {name: every[name] for name in oldest} == oldest
