"""Is this checkout a release? The version stands in deepxp/version.py, and what else names it is held to that."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from releasing.problem import ReleaseError

FORM = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)(0|[1-9]\d*))?")
HEADING = re.compile(r"^## \[([^\]]+)\](?: - (\S+))?\s*$", re.MULTILINE)
PYTHON = "Programming Language :: Python :: "
GIT_LIMIT = 60  # seconds
NAMED = 4  # files that a sentence names


def version(root: Path) -> str:
    """__version__ of deepxp/version.py, read without running it."""
    path = root / "deepxp" / "version.py"
    try:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
                found = str(ast.literal_eval(node.value))
                if not FORM.fullmatch(found):
                    raise ReleaseError(f"deepxp/version.py says {found!r}: write it as 1.2.3 or 1.2.3rc1")
                return found
    except (OSError, SyntaxError, ValueError) as error:
        raise ReleaseError(f"deepxp/version.py cannot be read ({error}): run this in a checkout of deepxp") from None
    raise ReleaseError('deepxp/version.py has no version: write __version__ = "1.2.3" into it')


def pythons(root: Path) -> tuple[str, ...]:
    """The versions of Python that pyproject.toml promises, the oldest first."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = (line.removeprefix(PYTHON) for line in project["classifiers"] if line.startswith(PYTHON))
    found = sorted((name for name in named if re.fullmatch(r"3\.\d+", name)), key=lambda name: int(name[2:]))
    if not found or project["requires-python"] != f">={found[0]}":
        raise ReleaseError(
            f"pyproject.toml has requires-python {project['requires-python']!r} and classifiers for "
            f"{', '.join(found) or 'no Python'}: make the oldest of them agree"
        )
    return tuple(found)


def complaints(root: Path, found: str) -> Iterator[str]:
    """What keeps this checkout from being the release `found`, each with the way out."""
    tables = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    if tables["project"].get("version") or tables["tool"]["hatch"]["version"].get("path") != "deepxp/version.py":
        yield (
            "pyproject.toml has a version of its own: keep dynamic = ['version'] and [tool.hatch.version] path = "
            "'deepxp/version.py'"
        )
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    yield from of_changelog(text, found)
    yield from of_citation((root / "CITATION.cff").read_text(encoding="utf-8"), found, sections(text).get(found))
    yield from of_git(root, found)


def sections(changelog: str) -> dict[str, tuple[str, str]]:
    """Version -> (date, text) of the sections of a changelog."""
    marks = [*HEADING.finditer(changelog)]
    ends = [mark.start() for mark in marks[1:]] + [len(changelog)]
    return {
        mark[1]: (mark[2] or "", changelog[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
    }


def of_changelog(text: str, version: str) -> Iterator[str]:
    """A section of the version with its date, and nothing that is said to be unreleased."""
    found = sections(text)
    day, said = found.get(version, ("", ""))
    if version not in found:
        yield (
            f"CHANGELOG.md has no section for {version}: put '## [{version}] - {date.today().isoformat()}' above what "
            "is in it, or correct deepxp/version.py"
        )
    elif not said:
        yield f"CHANGELOG.md says nothing of {version}: write what changed under its heading"
    elif not _is_date(day):
        yield f"CHANGELOG.md has no date for {version}: the heading is '## [{version}] - YYYY-MM-DD'"
    if found.get("Unreleased", ("", ""))[1]:
        yield f"CHANGELOG.md has changes under Unreleased: move them under [{version}]; what is released has no others"


def of_citation(text: str, version: str, section: tuple[str, str] | None) -> Iterator[str]:
    """The version, and the date of the changelog."""
    said = {key: _scalar(text, key) for key in ("version", "date-released")}
    if said["version"] != version:
        yield f"CITATION.cff has version {said['version']}, deepxp/version.py {version}: write 'version: {version}'"
    if section and _is_date(section[0]) and said["date-released"] != section[0]:
        yield (
            f"CITATION.cff has date-released {said['date-released']}, CHANGELOG.md {section[0]}: write "
            f"'date-released: {section[0]}'"
        )


def of_git(root: Path, version: str) -> Iterator[str]:
    """Everything is in a commit, and no tag has the version already."""
    head = commit(root)
    if not head:
        yield f"{root} is not a checkout that git can read, with a commit: a release is made in one"
        return
    changed = [line[3:] for line in git(root, "status", "--porcelain").splitlines()]
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        yield (
            f"the working tree differs from its commit in {', '.join(changed[:NAMED])}{more}: commit it, or put it "
            "away with `git stash -u`"
        )
    tag = f"v{version}"
    if git(root, "tag", "--list", tag) and git(root, "rev-parse", f"{tag}^{{commit}}") != head:
        yield f"the tag {tag} is another commit already: raise the version in deepxp/version.py"


def commit(root: Path) -> str:
    """The commit that is checked out; nothing where this is no checkout, also where it lies within another one."""
    try:
        top = git(root, "rev-parse", "--show-toplevel")
        return git(root, "rev-parse", "HEAD") if Path(top).samefile(root) else ""
    except ReleaseError:
        return ""


def time_of_commit(root: Path) -> str:
    """In seconds since 1970; nothing where there is no commit."""
    return git(root, "log", "-1", "--format=%ct") if commit(root) else ""


def git(root: Path, *words: str) -> str:
    """What git says, without the newline at its end; the first column of `status --porcelain` may be a space."""
    try:
        ran = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=GIT_LIMIT
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [""]
        raise ReleaseError(f"git {words[0]} failed ({said[0]}): a release is made in a checkout of deepxp") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"git {words[0]} failed ({error}): a release is made where git works") from None
    return ran.stdout.rstrip("\n")


def _scalar(text: str, key: str) -> str:
    """Of the top level of a YAML file; 'none' where it is not there."""
    found = re.search(rf"^{key}:\s*[\"']?([^\"'\s#]+)", text, re.MULTILINE)
    return found[1] if found else "none"


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
