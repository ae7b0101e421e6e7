"""The code blocks of a page of text, run in their order, and what they say held against what the page says of it.

    ```python    runs; all of a page share their names
    ```          (no language) is what the Python before it printed
    ```console   commands behind `$ `, each with its output; `...` stands for lines left out, `^C` is Ctrl-C there
    ```sh        commands, of which those of deepxp run and those in OTHERS are counted

`<!-- not run: the reason -->` in the line before a block keeps it from running, and is counted.
"""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from deepxp.cli import main

OTHERS = ("python ", "nox ", "bench/")  # commands of other programs: installers, the checks of a checkout
DIRECTIVES = ("{toctree}", "{eval-rst}")
FENCE = re.compile(r"(?:^<!-- not run: ([^\n]+) -->\n)?^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
MOMENT = re.compile(r"\b\d+\.\d+ s\b|(?<=\"seconds\": )[\d.]+|; [\d.]+ .?B are free on \S+")  # times, free memory
NOISE = 1e-6  # a smaller number is rounding and no more


class Block(NamedTuple):
    """A fenced block: its language, what is in it, its line, and why it is not run, if it is not."""

    language: str
    text: str
    line: int
    reason: str | None


def blocks(page):
    """All fenced blocks of a page that hold code or what code says."""
    return [
        Block(match[2], match[3], page.count("\n", 0, match.start()) + 1, match[1])
        for match in FENCE.finditer(page)
        if not match[2].startswith(DIRECTIVES)
    ]


def indented(page):
    """The lines of code blocks that are indented, not fenced: a fence says what runs, so there should be none."""
    outside = FENCE.sub("", page)
    return re.findall(r"(?<=\n\n)    .+", outside)


class PageError(AssertionError):
    """A page says something else than what it says it of."""


def matches(shown, said):
    """Is one line what was said: word for word, its numbers to 5 %, its times whatever they are?"""
    shown, said = MOMENT.sub("", shown), MOMENT.sub("", said)
    if shown.split(None, 1)[:1] == said.split(None, 1)[:1] in (["device"], ["resumed"]):
        return True  # of the machine, or of the moment
    if NUMBER.sub("N", shown).split() != NUMBER.sub("N", said).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(said), strict=True)
    return all(close(*(float(number.replace(",", "")) for number in pair)) for pair in pairs)


def close(a, b):
    """To 5 % of each other, or both rounding alone."""
    return abs(a - b) <= 0.05 * max(abs(a), abs(b)) or max(abs(a), abs(b)) < NOISE


def compare(shown, said):
    """Raises PageError for the first line of `shown` that was not said."""
    shown, said = ([line for line in text.split("\n") if line.strip()] for text in (shown, said))
    for k in range(max(len(shown), len(said))):
        if k >= min(len(shown), len(said)) or not matches(shown[k], said[k]):
            here, there = "\n    ".join(shown[k : k + 3]), "\n    ".join(said[k : k + 3])
            raise PageError(f"the page shows\n    {here}\nand it says\n    {there}")


def abbreviated(shown, said):
    """What was said, less the lines that `...` stands for in what is shown."""
    if not {"...", "^C"} & set(shown.split("\n")):
        return said
    kept, rest, searching = [], said.split("\n"), False
    for line in shown.removesuffix("\n").split("\n"):
        if line in ("...", "^C"):
            searching = True
            kept.append(line)
        elif searching and not line:
            kept.append(line)
        else:
            at = next((k for k, other in enumerate(rest) if alike(line, other)), 0) if searching else 0
            kept += rest[at : at + 1]
            rest, searching = rest[at + 1 :], False
    return "\n".join(kept) + "\n"


def alike(shown, said):
    """Do the two lines begin with the same three words?"""
    return shown.split()[:3] == said.split()[:3]


class Page:
    """Runs the blocks of a page in the current folder. `smaller` are arguments added to a command that starts so, for
    a run in a moment in place of minutes; `fails` are commands that end with an error, as they should, and so do those
    with one of the flags `lacking`: what that takes is not there."""

    def __init__(self, smaller=(), fails=(), lacking=()):
        self.names, self.said = {"__name__": "__main__"}, ""
        self.smaller, self.fails, self.lacking = dict(smaller), tuple(fails), tuple(lacking)
        self.not_run = self.of_others = 0

    def run(self, block):
        """The block as it should read. Raises what its code raises."""
        if block.reason is not None:
            self.not_run += 1
            return block.text
        return {"python": self.python, "": self.output, "console": self.console, "sh": self.shell}[block.language](
            block
        )

    def python(self, block):
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile("\n" * block.line + block.text, "the page", "exec"), self.names)
        self.said = out.getvalue()
        return block.text

    def output(self, block):
        return self.said

    def console(self, block):
        said = ""
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if "^C\n" in shown:
                before = shown.split("^C\n")[0].rstrip().rpartition("\n")[2]
                printed = interrupted(command, before)
            else:
                printed = self.command(command)
            said += f"$ {command}\n{abbreviated(shown, printed)}"
        return said

    def shell(self, block):
        for line in block.text.splitlines():
            if line.split("#")[0].strip():
                self.command(line)
        return block.text

    def command(self, line):
        """What a command writes to both of its streams."""
        if line.startswith(OTHERS):
            self.of_others += 1
            return ""
        words = shlex.split(line, comments=True)
        assert words[0] == "deepxp", f"neither deepxp nor one of {OTHERS}: {line}"
        more = [word for start, words in self.smaller.items() if line.startswith(start) for word in words]
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            code = main(words[1:] + more)
        command = " ".join(words)  # without what is said of it
        fails = command.startswith(self.fails) or any(flag in command for flag in self.lacking)
        assert bool(code) == fails, f"{line} ended with {code}: {out.getvalue()}"
        return out.getvalue()


def interrupted(line, before):
    """What a command says when it gets a Ctrl-C as soon as it has printed a line like `before`."""
    words = [sys.executable, "-u", "-m", "deepxp", *shlex.split(line)[1:]]
    said = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ) as child:
        for printed in child.stdout:
            said.append(printed)
            if before and alike(before, printed):
                child.send_signal(signal.SIGINT)
                before = None
    return "".join(said)


def updated(text, page):
    """The text of a page with what its blocks say."""
    for block in blocks(text):
        fence = f"```{block.language}\n"
        text = text.replace(f"{fence}{block.text}```", f"{fence}{page.run(block)}```", 1)
    return text
