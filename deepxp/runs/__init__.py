"""The folder that a run leaves behind, read back: what a report and plots are made from.

run     the history of a run, and what is known when it has ended
page    both as a page of HTML
"""
