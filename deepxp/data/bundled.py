"""The data set that comes with the package."""

from dataclasses import replace
from pathlib import Path

from deepxp.data.dataset import Dataset
from deepxp.data.places import in_file
from deepxp.data.readers import npz
from deepxp.data.readers.options import Options


def digits() -> Dataset:
    """1797 handwritten digits, images of 8 x 8 pixels: X (1797, 64) uint8 from 0 to 16, y (1797,) uint8 from 0 to 9.

    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, CC BY 4.0;
    DIGITS.md beside this file tells where they come from.
    """
    dataset = npz.read(Path(__file__).with_name("digits.npz"), Options())
    return replace(dataset, name="digits", where=in_file("digits"), where_y=in_file("digits"))
