"""How these pages become HTML: `nox -s docs`, and they are in build/docs. Nothing is fetched, then or when they are read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from deepxp import __version__

project, author, release = "deepxp", "deepxp contributors", __version__
project_copyright = author
html_title = f"deepxp {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "equations", "docstrings", "root_pages"]
exclude_patterns = ["_ext"]
html_theme, html_static_path, html_css_files = "furo", ["_static"], ["equations.css"]
html_copy_source = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
maximum_signature_line_length = 80

# Names of signatures that are not ours: the standard library's, NumPy's, scikit-learn's, and those that stand for any.
nitpick_ignore_regex = [
    ("py:.*", r"(Any|Array|Namespace|Self|Callable|Sequence|Mapping|Iterator|ModuleType|Path|AbstractContextManager)"),
    ("py:.*", r"(np|npt|os|sklearn|numpy|collections)\..*"),
]
