"""What `scripts/release.py` does, a module for each step.

problem     an error of one line with the way out; a command under a time limit
ready       is this checkout a release: version, changelog, citation, git
contents    is everything in the sdist and the wheel, and nothing else
pythons     the interpreters of this machine
smoke       what a fresh installation must do; run by its own Python
"""
