"""What the library says of its arguments, said of flags."""

import re

from deepxp.cli.options import ROWS

PHRASES = {
    "header='yes'": "--header",
    "header='no'": "--no-header",
    "; weigh the samples with sample_weight": "",
    "raise limit_bytes": "raise --limit-bytes",
    "(limit_bytes)": "(--limit-bytes)",
    "hidden='leaky_relu'": "--activation leaky_relu",
    "name the targets with target=": "name the targets with --target",
    "any table with delimiter=": "any table with --delimiter",
    "unless target= names another": "unless --target names another",
    "columns are what ignore and categories name": "columns are what --ignore and --categories name",
    "class_weight needs": "--class-weight needs",
}
NAMES = "|".join(name.replace("-", "_") for name in ROWS if name not in ("data", "header"))
ARGUMENT = re.compile(rf"(?<![\w./-])({NAMES})=('[^']*'|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w/]|\.\w))")

WORD = re.compile(r"[\w.-]+")  # needs no quotes in a shell


def as_flags(message: str) -> str:
    """The message of an error of the library for who typed a command: `delimiter=';'` becomes `--delimiter ';'`."""
    for phrase, flag in PHRASES.items():
        message = message.replace(phrase, flag)
    return ARGUMENT.sub(lambda found: f"--{found[1].replace('_', '-')} {_value(found[2])}", message)


def visible(text: str) -> str:
    """Text from a file, such as a name of a column, without what would steer the terminal it is shown on."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def _value(text: str) -> str:
    if text == r"'\t'":
        return "tab"
    if text.startswith("'") and WORD.fullmatch(text[1:-1]):
        return text[1:-1]
    return text if text.startswith("'") or text.isdecimal() else f"{float(text):g}"
