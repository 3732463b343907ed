"""The `qflows` command. Each group of commands is one module, imported when it is asked for."""

from __future__ import annotations

from qflows.cli.app import main

__all__ = ["main"]
