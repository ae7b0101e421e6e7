"""What every comparison needs: contenders in processes of their own, fair rounds, an agreement check, result files."""

from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
RESULTS = BENCH / "results"
