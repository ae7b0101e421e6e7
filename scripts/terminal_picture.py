"""docs/images/train.svg, the picture of a training in README.md: python scripts/terminal_picture.py

It shows the first block of docs/cli.md, which tests/test_docs.py holds against a run.
"""

import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE, PICTURE = ROOT / "docs" / "cli.md", ROOT / "docs" / "images" / "train.svg"
LINE, CHARACTER, BORDER = 19, 7.83, 18  # pixels; a character of 13 pixels in a monospaced font
COLOURS = {"$": "#7ee787", "epoch": "#e6edf3", "test": "#79c0ff"}  # by the first word of a line; others are grey


def shown():
    """The command and what it printed, as docs/cli.md has it."""
    return re.search(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1].rstrip("\n")


def svg(text):
    """A terminal with the text in it."""
    lines = text.split("\n")
    width = max(map(len, lines)) * CHARACTER + 2 * BORDER
    height = len(lines) * LINE + 2 * BORDER
    rows = [
        f'<text x="{BORDER}" y="{BORDER + LINE * (k + 0.75):.0f}" fill="{COLOURS.get(line.split(" ")[0], "#9da7b3")}">'
        f"{escape(line).replace('  ', chr(160) * 2)}</text>"  # what is not broken is not run together either
        for k, line in enumerate(lines)
        if line
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="13">'
        '\n<rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(svg(shown()), "utf-8")
