"""The documentation names what is public, all of it and nothing else."""

import re
from pathlib import Path

from tests.test_public_api import public_modules

DOC = Path(__file__).parents[1] / "doc"


def listed_names():
    """Return the qualified names in the tables of the API reference."""
    names, module, is_table = set(), None, False
    for line in (DOC / "api.rst").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif line and not line.startswith(" "):
            is_table = line.startswith(".. autosummary::")
        elif is_table and (found := re.fullmatch(r"   (\w+)", line)):
            names.add(f"{module}.{found[1]}")
    return names


def test_api_reference_lists_every_public_name_and_no_other():
    public = {
        f"{module.__name__}.{name}"
        for module in public_modules()
        for name in module.__all__
        if not name.startswith("__")
    }
    assert listed_names() == public


def test_every_source_is_cited_and_every_citation_has_a_source():
    sources = re.findall(r"^@\w+\{(\w+),", (DOC / "references.bib").read_text("utf-8"), re.M)
    texts = [path.read_text("utf-8") for path in (*DOC.glob("*.rst"), *DOC.glob("examples/*.py"))]
    cited = set(re.findall(r":cite:(?:p|t):`(\w+)`", "\n".join(texts)))
    assert cited == set(sources)


def test_the_guide_names_every_example():
    guide = (DOC / "user_guide.rst").read_text("utf-8")
    examples = [path.stem for path in DOC.glob("examples/plot_*.py")]
    assert not [name for name in examples if f"auto_examples/{name}" not in guide]
