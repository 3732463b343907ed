"""What the sampler and the estimator have in common."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from qflows.primitives.backend import Backend
from qflows.primitives.origin import OnDevice


class DurablePrimitive(OnDevice):
    """A primitive whose calls are jobs of the ledger."""

    @cached_property
    def backend(self) -> Backend:
        """The same device, run and options as a backend, for libraries that ask a primitive for it."""
        return Backend(self.device, **self._origin.purchases(f"{self._origin.label}.backend"))

    @property
    def _backend(self) -> Backend:  # the name under which qiskit-experiments looks for it
        return self.backend

    @property
    def options(self) -> Mapping[str, Any]:
        """Vendor options of every call."""
        return self._origin.options
