"""Loops that can be resumed, the problems they solve and the optimizers they use. Knows no Prefect."""
