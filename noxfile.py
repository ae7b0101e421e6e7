"""The checks, each in an environment of its own: `nox -l` lists them, `nox -s tests-3.11` runs one."""

from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests"]

TORCH = "torch==2.13.0"
PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)  # the versions that the classifiers promise
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def pinned(tool):
    """The requirement on `tool` as the dev extra states it, so that its bounds stand in one place."""
    return next(requirement for requirement in EXTRAS["dev"] if requirement.startswith(tool))


def run_pytest_on_wheel(session, *args):
    """The tests against the installed wheel: the checkout's deepxp is kept off sys.path, in child processes too."""
    session.run("python", "-m", "pytest", *args, *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session(python=PYTHONS)
def tests(session):
    """The tests, on the installed wheel: data that was left out of it shows here."""
    session.install(".[test]")
    run_pytest_on_wheel(session)


@nox.session(python="3.11")
def minimum(session):
    """The tests with the oldest supported Python and NumPy."""
    session.install(".[test]", "numpy==2.0.*")
    run_pytest_on_wheel(session)


@nox.session(python="3.11")
def plain(session):
    """The tests without Numba, so with the kernels in NumPy itself."""
    session.install(".[test]")
    session.run("python", "-m", "pip", "uninstall", "-y", "numba", "llvmlite")
    run_pytest_on_wheel(session)


@nox.session(python="3.11")
def docs(session):
    """The pages of docs/ as HTML, in build/docs; every warning is an error. Their code is run by tests/test_docs.py."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-E", "-b", "html", "docs", "build/docs", *session.posargs)
    print("open build/docs/index.html")


@nox.session(python="3.11")
def interop(session):
    """The tests with other libraries: ONNX, PyTorch, Keras, JAX, dask."""
    session.install(TORCH)
    session.install(".[interop]")
    run_pytest_on_wheel(session, "-m", "interop")


@nox.session(python=False)
def gpu(session):
    """What only a CUDA GPU can prove, with the CuPy of the Python that is on the PATH: `nox -s gpu [-- --quick]`."""
    session.run("bash", "bench/gpu/prove.sh", *session.posargs, external=True)


@nox.session(python="3.11")
def bench(session):
    """The benchmark suite, saved in bench/results and compared with the run before: `nox -s bench [-- --quick]`."""
    session.install(".[bench,fast]", TORCH)
    session.run("python", "bench/suite.py", *session.posargs)


@nox.session(python="3.11")
def peers(session):
    """deepxp against other libraries: `nox -s peers [-- --quick --mnist FILE.npz]`; parity with them first."""
    session.install(".[test,bench,fast]", TORCH, "jax>=0.6", "thinc>=9")
    if list(Path("bench/peers").glob("test_*.py")):
        session.run("python", "-m", "pytest", "bench/peers", "-q")
    session.run("python", "bench/peers.py", *session.posargs)


@nox.session(python="3.11")
def fuzz(session):
    """Every reader against files made by a coverage-guided fuzzer: `nox -s fuzz [-- SECONDS [READER ...]]`.

    atheris brings its own libFuzzer for Linux on x86-64; elsewhere it is built with Clang, or there is none.
    """
    session.install(".", "atheris>=3", "numpy")
    session.run("python", "scripts/fuzz.py", *session.posargs)


@nox.session(python="3.11")
def release(session):
    """From the checkout to files in dist/ that may be uploaded: `nox -s release [-- --rehearsal]`."""
    session.install(*EXTRAS["release"])
    session.run("python", "scripts/release.py", *session.posargs)


@nox.session
def lint(session):
    """Ruff's rules and its format."""
    session.install(pinned("ruff"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session):
    """Mypy, strict, on the package."""
    session.install(".", pinned("mypy"))
    session.run("mypy")
