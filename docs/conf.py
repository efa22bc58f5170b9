"""How Sphinx makes the documentation: `make docs`."""

from __future__ import annotations

from pathlib import Path
import re
import sys

from sphinx.application import Sphinx


ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # `storage` and `objectives` are run from the checkout

import optuna_partition  # noqa: E402


project = "optuna-partition"
version = release = optuna_partition.__version__
author = "the authors of optuna-partition"
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # of the docstrings: a name in single backticks

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_title = f"optuna-partition {release}"
html_copy_source = False
html_show_sphinx = False


def name_files_outside(_: object, __: str, source: list[str]) -> None:
    """Links to files of the repository that are no pages: their names stay, the links go.

    On a code host these links lead somewhere; beside the HTML there is no repository.
    """
    source[0] = re.sub(r"\[([^\]]*)\]\(\.\./([^)#]+)\)", _named, source[0])


def _named(link: re.Match[str]) -> str:
    text, file = link.groups()
    return f"`{file}`" if file.endswith(text) else f"{text} (`{file}`)"


def leave_out_settings(_: object, __: str, name: str, *rest: object) -> tuple[str, str] | None:
    """A section of the experiment file is written, not called: its keys stand below it."""
    return ("", "") if name.startswith("objectives.settings.") else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", leave_out_settings)
    app.connect("source-read", name_files_outside)
