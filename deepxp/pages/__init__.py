"""Pages of HTML that need no network and no script, for light, dark and paper, and the plots on them.

axes    a plot as SVG
page    the page around sections, tables and figures; page.css is its style
words   numbers and times
"""
