"""How these pages become HTML: `nox -s docs` writes build/docs. Nothing is fetched, then or when they are read."""

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
html_copy_source, smartquotes, highlight_language = False, False, "text"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
maximum_signature_line_length = 80

# Names in signatures that are nobody's page: the standard library's, NumPy's, and aliases that are clear by their name.
nitpick_ignore_regex = [
    ("py:.*", r"(np|npt|numpy|os|types|collections)\..*"),
    ("py:.*", r"deepxp\.(ops\.activations\.Activation|explain\.explanation\.Section)"),
    (
        "py:.*",
        r"Any|Array|Callable|Iterator|Mapping|Namespace|Path|Rule|Self|Sequence|ModuleType|AbstractContextManager",
    ),
    ("py:.*", r"Columns|Header|Kind|Target|Where|FolderLock|Position|list\[.*"),
]
