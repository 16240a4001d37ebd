"""Configuration of the documentation: `make doc` builds it, without a network."""

import warnings

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import sklearn_synset

project = "sklearn-synset"
author = "the sklearn-synset developers"
project_copyright = author
version = release = sklearn_synset.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "_templates", "benchmarks", "examples"]
templates_path = ["_templates"]
default_role = "literal"

# A link into this package that leads nowhere is an error; other packages' names are not looked up,
# as their inventories would have to be downloaded.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!sklearn_synset).*")]

autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(_|demo)[^/]*$",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("sklearn_synset",),
    "backreferences_dir": "generated/backreferences",
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
    "download_all_examples": False,
    "parallel": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn-synset {version}"
html_show_sourcelink = False
html_copy_source = False
_PAGES = ("api", "bad_input", "benchmarks", "contributing", "design_decisions", "index")
html_sidebars = {page: [] for page in (*_PAGES, "torch_loop", "user_guide", "maintainers/*")}
html_theme_options = {"secondary_sidebar_items": ["page-toc"], "show_prev_next": False}
html_math_renderer = "mathml"

# What an example warns of shows up in its output; a deprecation in a documentation tool does not
# concern the reader.
warnings.filterwarnings("default", module="sklearn_synset")


def _inline_math(translator, node):
    """Write a formula as MathML, which browsers draw without a script from elsewhere."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _display_math(translator, node):
    """Write a formula on a line of its own."""
    formula = tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
