"""Settings of Sphinx: ``make docs`` builds the site from here, ``examples/`` and docstrings."""

import re
import warnings
from typing import Any

from metadip.command_line import set_thread_policy

set_thread_policy()  # before torch is imported: the examples share their cores with Sphinx

import torch  # noqa: E402

import metadip  # noqa: E402

torch.set_num_threads(1)  # small pictures: more threads only cost

project = "metadip"
author = copyright = "The metadip authors"
release = version = metadip.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"metadip {release}"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_depth": 3,
    "navigation_with_keys": False,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": []}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_url_schemes = ["http", "https"]

autosummary_generate = True
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Model", "Shape", "Cost"]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 0,
    "image_srcset": ["2x"],
    "reset_modules": ("matplotlib",),
    "plot_gallery": True,
    "thumbnail_size": (480, 160),
    "within_subsection_order": "ExampleTitleSortKey",
}
# Of the libraries beneath, seen when the examples run.
warnings.filterwarnings("ignore", category=UserWarning, module=r"(deepinv|lightning|torch)\.")
suppress_warnings = ["config.cache"]  # the settings above hold a function of sphinx-gallery

CODE = re.compile(r"(``.*?``)")
SHORT = re.compile(r"^(Model|Shape|Cost|Returns|References): (?=\S)", re.MULTILINE)  # on one line


def plain_text(line: str) -> str:
    """Return a line of a docstring in which reStructuredText finds no marks but literals.

    Docstrings are written to be read in an editor: norms and products are not references.
    """
    parts = CODE.split(line)
    parts[::2] = [re.sub(r"([|*]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def escape_docstring(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape a docstring, its examples excepted, before Napoleon reads its headings."""
    if what == "data":  # a constant: the text is that of its type
        lines.clear()
    text = SHORT.sub(r"\1:\n    ", "\n".join(lines))
    in_example, lines[:] = False, text.split("\n")
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(" "):
            in_example = line.startswith("Example")
        lines[number] = line if in_example else plain_text(line)


def setup(app: Any) -> None:
    """Register what is done to docstrings."""
    app.connect("autodoc-process-docstring", escape_docstring, priority=100)
