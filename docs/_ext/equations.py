r"""Formulas as MathML, which a browser sets by itself: docutils writes it. `\tag{1.1}` is the number at the margin."""

import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

TAG = re.compile(r"\s*\\tag\{([^}]*)\}")


def inline(writer, node):
    """$...$"""
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def displayed(writer, node):
    """$$ ... $$"""
    tex = node.astext()
    number = "".join(f'<span class="number">({tag})</span>' for tag in TAG.findall(tex))
    writer.body.append(f'<div class="formula">{tex2mathml(TAG.sub("", tex), as_block=True)}{number}</div>\n')
    raise SkipNode


def setup(app):
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    return {"parallel_read_safe": True}
