"""Every example runs from start to end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DIRECTORY = Path(__file__).parents[1] / "doc" / "examples"
# Files with a leading underscore are parts of other examples.
EXAMPLES = sorted(path for path in DIRECTORY.glob("*.py") if not path.name.startswith("_"))


def test_examples_are_found():
    """An empty or moved directory is no success."""
    assert "demo.py" in [path.name for path in EXAMPLES]


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    """Runs the example cut short, in a directory of its own."""
    environment = {**os.environ, "SYNSET_EXAMPLES_QUICK": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    written = sorted(file.name for file in tmp_path.glob("out/*") if file.stat().st_size)
    if path.name == "demo.py":
        assert {"attributions.csv", "report.html"} <= set(written)
        assert sum(name.endswith(".png") for name in written) == 4
