import inspect
import re

import pytest

from tests.test_public_api import public_objects

# "name : type, default=value" or "name1, name2 : type"; the name starts the line.
ENTRY = re.compile(r"^(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*) ?:(?P<type>.*)$")


def documented_parameters(docstring):
    """Return the documented type of every name in the section Parameters."""
    lines = inspect.cleandoc(docstring).split("\n")
    if "Parameters" not in lines:
        return {}
    types = {}
    start = lines.index("Parameters") + 2
    for line, following in zip(lines[start:], [*lines[start + 1 :], ""], strict=True):
        if set(following) == {"-"}:
            break
        entry = ENTRY.match(line)
        if entry:
            types |= dict.fromkeys(entry["names"].replace("*", "").split(", "), entry["type"])
    return types


def signature_parameters(function):
    """Return the default (or Parameter.empty) of every parameter but self."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.name not in ("self", "cls")}


def disagreements(function, docstring):
    """Return what the section Parameters gets wrong about the signature."""
    documented, actual = documented_parameters(docstring), signature_parameters(function)
    wrong = [f"{name} is documented but no parameter" for name in documented.keys() - actual.keys()]
    wrong += [f"{name} is not documented" for name in actual.keys() - documented.keys()]
    for name in documented.keys() & actual.keys():
        _, has_default, text = documented[name].rpartition("default=")
        if actual[name] is inspect.Parameter.empty:
            if has_default:
                wrong.append(f"{name} has no default, but {text} is documented")
        elif text.strip() not in (repr(actual[name]), repr(actual[name]).replace("'", '"')):
            wrong.append(f"{name} has the default {actual[name]!r}, documented as {text!r}")
    return wrong


def own_functions(thing):
    """Return (name, function, docstring) of a function, or of a class and its own methods."""
    if not inspect.isclass(thing):
        return [("", thing, inspect.getdoc(thing))]
    own = {name: getattr(method, "__func__", method) for name, method in vars(thing).items()}
    methods = [
        (f".{name}", function, inspect.getdoc(function))
        for name, function in own.items()
        if inspect.isfunction(function) and not name.startswith("_")
    ]
    return [("", thing.__init__, inspect.getdoc(thing)), *methods]


def test_documented_parameters_and_defaults_are_those_of_the_signature():
    wrong = [
        f"{path}{suffix}: {problem}"
        for path, thing in public_objects()
        for suffix, function, docstring in own_functions(thing)
        for problem in disagreements(function, docstring)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("docstring", "problem"),
    [
        ("a : int\n    Row.\n\nb : str, default='x'\n    Text.", None),
        ('a : int\n    Row.\n\nb : {"x", "y"}, default="x"\n    Text.', None),
        ("a : int\n    Row.\n\nb : str, default='y'\n    Text.", "b has the default 'x'"),
        ("a : int, default=1\n    Row.\n\nb : str, default='x'", "a has no default"),
        ("b : str, default='x'\n    Text.", "a is not documented"),
        ("a, c : int\n    Row.\n\nb : str, default='x'", "c is documented"),
    ],
)
def test_the_comparison_sees_what_is_wrong(docstring, problem):
    def function(a, b="x"):
        pass

    text = f"Summary.\n\nParameters\n----------\n{docstring}\n\nReturns\n-------\nc : int\n    Out."
    found = disagreements(function, text)
    assert len(found) == (problem is not None)
    assert problem is None or found[0].startswith(problem)
