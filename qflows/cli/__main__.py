"""`python -m qflows.cli`: the `qflows` command of this very interpreter."""

from qflows.cli import main

main()
