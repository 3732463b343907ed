"""Loops that are killed at every k-th evaluation; `python -m acceptance.loops` is the long form."""
