"""Make deepxp/data/digits.npz from scikit-learn's copy of the digits: `python scripts/make_digits.py`.

The same data gives the same bytes every time, up to the version of zlib: the archive records no date and no platform.
"""

import io
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from sklearn.datasets import load_digits

PATH = Path(__file__).parents[1] / "deepxp" / "data" / "digits.npz"
UNIX = 3  # the "made by" field of a zip entry; ZipInfo would record the platform that runs this
READABLE = 0o644 << 16


def main() -> None:
    """Write the archive and say how large it is."""
    data = load_digits()
    arrays = {"X": data.data.astype(np.uint8), "y": data.target.astype(np.uint8)}
    with ZipFile(PATH, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            entry = ZipInfo(f"{name}.npy")  # dated 1980-01-01, the earliest a zip knows
            entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, UNIX, READABLE
            archive.writestr(entry, buffer.getvalue())
    print(f"{PATH.name}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
