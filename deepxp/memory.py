"""How much memory this process may still take: what the machine has left, or less where a limit is set on it."""

import os
from collections.abc import Iterator
from pathlib import Path

MEMINFO, CGROUPS, OWN_CGROUP, STATM = "/proc/meminfo", "/sys/fs/cgroup", "/proc/self/cgroup", "/proc/self/statm"
LIMITS = (  # of version 2 and version 1: the limit, what is used of it, and the cache in that, which is given back
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available(root: str | os.PathLike[str] = "/") -> int | None:
    """The bytes that can be allocated: the least of what the machine has left, swap included, of what the control
    groups of this process leave it, and of its limit on address space. None where the system does not say.

    `root` stands before the paths of the system's files.
    """
    found = [*_machine(Path(root)), *_groups(Path(root)), *_address_space(Path(root))]
    return max(0, min(found)) if found else None


def _under(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _machine(root: Path) -> Iterator[int]:
    lines = (line.partition(":") for line in _text(_under(root, MEMINFO)).splitlines())
    said = {name: 1024 * int(value.split()[0]) for name, _, value in lines if name in ("MemAvailable", "SwapFree")}
    if "MemAvailable" in said:
        yield sum(said.values())
    elif "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(root: Path) -> Iterator[int]:
    """What each group that this process is in, and each group around it, has left."""
    paths = {Path("/"): None}  # inside a container the group's own files are at the top
    for line in _text(_under(root, OWN_CGROUP)).splitlines():
        own = Path("/", line.split(":")[-1])
        paths |= dict.fromkeys([own, *own.parents])
    for folder, most, used, cache in LIMITS:
        for path in paths:
            group = _under(root, CGROUPS) / folder / str(path).lstrip("/")
            limit, current = _text(group / most).strip(), _text(group / used).strip()
            if limit.isdecimal() and current.isdecimal():
                held = (line.split() for line in _text(group / "memory.stat").splitlines())
                yield int(limit) - int(current) + next((int(n) for name, n in held if name == cache), 0)


def _address_space(root: Path) -> Iterator[int]:
    try:
        import resource  # POSIX only
    except ImportError:
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _text(_under(root, STATM)).split()[:1]
    if soft != resource.RLIM_INFINITY and pages:
        yield soft - int(pages[0]) * resource.getpagesize()
