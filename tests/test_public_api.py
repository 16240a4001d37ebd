import importlib
import inspect
import pkgutil
import subprocess
import sys

import sklearn_synset


def public_modules():
    """Return the package and its public modules."""
    found = pkgutil.walk_packages(sklearn_synset.__path__, "sklearn_synset.")
    names = [info.name for info in found if "._" not in info.name]
    return [sklearn_synset, *map(importlib.import_module, names)]


def public_objects():
    """Return (qualified name, object) of every public class and function."""
    return [
        (f"{module.__name__}.{name}", getattr(module, name))
        for module in public_modules()
        for name in module.__all__
        if not name.startswith("__")
    ]


def test_the_public_modules_are_those_that_are_documented():
    names = [module.__name__ for module in public_modules()]
    assert names == [
        f"sklearn_synset{name}" for name in ("", ".datasets", ".inspection", ".metrics")
    ]


def test_import_leaves_matplotlib_alone():
    code = "import sys, sklearn_synset.inspection; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_is_sorted_and_every_name_exists():
    for module in public_modules():
        assert list(module.__all__) == sorted(module.__all__), module.__name__
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, module.__name__


def test_every_public_object_and_method_has_a_docstring():
    undocumented = []
    for name, thing in public_objects():
        members = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else []
        own = [
            (f"{name}.{method}", function)
            for method, function in members
            if not method.startswith("_") and function.__module__.startswith("sklearn_synset")
        ]
        undocumented += [path for path, each in [(name, thing), *own] if not inspect.getdoc(each)]
    assert not undocumented


def test_version_is_the_one_that_is_installed():
    parts = sklearn_synset.__version__.split(".")
    assert len(parts) >= 3 and all(part.isdigit() for part in parts[:2])
