"""The benchmark of this machine that `deepxp bench` runs: both devices at different m and n[l].

run         the sweep, from contenders to conclusions
contenders  what is compared: the engines of the CPU, and each GPU
measure     what is timed and how
results     what was found; the schema of the JSON
crossover   what the numbers say: from which m on a GPU wins, and what an engine saves
tables      the results as text;  report, plots, axes: as a page of HTML with SVG
"""
