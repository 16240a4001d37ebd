"""The page around the contents of a report."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files

from sklearn_synset.inspection._report._packing import json_for_script

_FOLDER = files("sklearn_synset.inspection._report") / "templates"


def check_jinja2(caller: str) -> None:
    """Raise an ImportError that says what to install when jinja2 is missing.

    Raises
    ------
    ImportError
        If it is missing.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs jinja2; install it with pip install 'sklearn-synset[report]'."
        ) from error


def render_page(contents: dict, overview: dict) -> str:
    """Return a page that needs no other file and no network.

    Parameters
    ----------
    contents : dict
        What the page's script reads.
    overview : dict
        What the template writes: texts, which are escaped.

    Returns
    -------
    page : str
        HTML. Its content security policy allows no script but the report's own, and no connection.

    Raises
    ------
    ImportError
        If jinja2 is missing.
    """
    check_jinja2("AttributionReport")
    from jinja2 import Environment, StrictUndefined

    script, style = read_part("report.js"), read_part("report.css")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(read_part("report.html")).render(
        script=script,
        style=style,
        script_hash=content_hash(script),
        style_hash=content_hash(style),
        data=json_for_script(contents),
        **overview,
    )


def content_hash(text: str) -> str:
    """Return the hash by which a content security policy knows a script or a style.

    Examples
    --------
    >>> from sklearn_synset.inspection._report._page import content_hash
    >>> content_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def in_a_frame(page: str, height: int) -> str:
    """Return a page as an element of another page, neither of which can change the other."""
    return (
        '<iframe title="Attribution report" sandbox="allow-scripts allow-downloads" '
        f'style="width: 100%; height: {height}px; border: 1px solid #8884; border-radius: 8px" '
        f'srcdoc="{escape(page)}"></iframe>'
    )


def read_part(name: str) -> str:
    """Return the text of one of the templates.

    Returns
    -------
    text : str
        With line feeds only, so that its hash is the one that a browser computes.
    """
    return (_FOLDER / name).read_text(encoding="utf-8").replace("\r\n", "\n")
