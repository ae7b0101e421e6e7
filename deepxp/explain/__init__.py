"""What a network computes, shown: each equation of a step, its shapes and values, and the numerical derivative.

    from deepxp.explain import explain, html, text

    print(text(explain(net, X, y, optimizer)))      # html(...) is a page

expressions     the xp of formulas: a definition run on it becomes an expression
writers         the grammar, and an expression as text; `typeset`: as LaTeX and MathML
formulas        the equations of a step and of an update
example         the values of a step, and differences beside its derivatives
explanation     what is said, section by section
terminal, page  the same as text and as HTML; `numbers`: the cells of a matrix
"""

from deepxp.explain.explanation import explain
from deepxp.explain.page import html
from deepxp.explain.terminal import text

__all__ = ["explain", "html", "text"]
