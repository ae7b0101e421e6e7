"""Checkpoints: a run is saved between two steps, and goes on from there to the same bits.

position    where a run is between two steps
saver       when a run is saved, and how it is put back
config      what a run must have in common with a saved one
file        the file it is saved in
lock        one run at a time in a folder
"""
