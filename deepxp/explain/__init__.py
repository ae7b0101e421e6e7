"""What a network computes, shown: each equation of a step, its shapes and values, and the numerical derivative.

expressions     the xp of formulas: a definition run on it becomes an expression
writers         an expression as text, as LaTeX, as MathML
formulas        the equations of a step and of an update
"""
