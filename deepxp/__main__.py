"""`python -m deepxp` is the command `deepxp`."""

import sys

from deepxp.cli import main

if __name__ == "__main__":
    sys.exit(main())
