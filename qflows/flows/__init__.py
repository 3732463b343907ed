"""Flows that ship with qflows; each is an ordinary Prefect flow and a template for one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qflows.flows.run_circuits import run_circuits
    from qflows.flows.vqe import vqe

__all__ = ["run_circuits", "vqe"]


def __getattr__(name: str) -> object:
    """Loads a flow on first use."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"qflows.flows.{name}"), name)
    raise AttributeError(name)
