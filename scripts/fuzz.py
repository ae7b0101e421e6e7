"""Looks for a file that a reader does not read or refuse as SECURITY.md promises: `nox -s fuzz [-- SECONDS [READER]]`.

Guided by coverage (atheris). The first byte of an input chooses the reader, the rest is the file. The corpus grows in
.fuzz/, beginning with the seeds of tests/hostile; an input that breaks a promise is left in .fuzz/ and ends the run.
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["deepxp", "zipfile", "csv", "json", "tomllib"]):
    from hostile import READERS, seeds

    import deepxp as dx

CORPUS = Path(".fuzz")
NAMES = sorted(READERS)
CHOSEN = sys.argv[2:] or NAMES


def one(content: bytes) -> None:
    """Read one input; anything but one of deepxp's own errors ends the run."""
    if not content or NAMES[content[0] % len(NAMES)] not in CHOSEN:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "untrusted")
        path.write_bytes(content[1:])
        try:
            READERS[NAMES[content[0] % len(NAMES)]](path)
        except dx.DeepxpError as error:
            if len(str(error)) > 2000 + len(folder):
                raise ValueError("the message is too long") from error


def main() -> None:
    """Write the seeds, then fuzz for as long as asked."""
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, contents in seeds(Path(folder)).items():
            for number, content in enumerate(contents):
                (CORPUS / f"seed-{NAMES.index(name):02}-{number}").write_bytes(bytes([NAMES.index(name)]) + content)
    seconds = sys.argv[1] if len(sys.argv) > 1 else "600"
    limits = ["-rss_limit_mb=1024", "-malloc_limit_mb=256", "-timeout=30", f"-max_total_time={seconds}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={CORPUS}{os.sep}", str(CORPUS)], one)
    atheris.Fuzz()


main()
