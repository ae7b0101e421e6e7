"""A module per file format, each with `read(path, options) -> Dataset`.

Below them: `files` (bytes and lines of a file, packed or not), `numbers` (text to numbers) and `arrays` (what an array
from a file must be to serve as X or y).
"""
