"""SECURITY.md and CHANGELOG.md stand at the root, where they are looked for, and are pages here, too: links follow."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {"security": ROOT / "SECURITY.md", "changelog": ROOT / "CHANGELOG.md"}
UP = re.compile(r"\]\(\.\./([A-Z]+)\.md")  # as GitHub follows it: [the promises](../SECURITY.md)
DOWN = re.compile(r"\]\(docs/")
ENTRY = re.compile(r"^[a-z]+\n", re.MULTILINE)  # of a table of contents


def read(app, name, source):
    """The text of a page of docs/, with links to pages of the root as links to pages."""
    if name in PAGES:
        source[0] = DOWN.sub("](", PAGES[name].read_text("utf-8"))
        app.env.note_dependency(PAGES[name])
    if name == "index":  # a page that is not there is not listed; one that is and is not listed fails the build
        source[0] = ENTRY.sub(lambda entry: entry[0] if entry[0].strip() in app.env.found_docs else "", source[0])
    source[0] = UP.sub(lambda found: f"]({found[1].lower()}.md", source[0])


def setup(app):
    """What Sphinx calls."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
