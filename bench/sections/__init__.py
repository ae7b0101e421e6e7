"""The sections of the comparison: each takes a Setting and returns what was measured, with rows for the table."""
