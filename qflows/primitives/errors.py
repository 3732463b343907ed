"""Errors of the primitives: qflows' own, which code written for Qiskit catches as QiskitError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

from qiskit.exceptions import QiskitError

from qflows.core.arguments import check_call
from qflows.errors import JobFailed, ProgramRejected

P = ParamSpec("P")


class PubRejected(ProgramRejected, QiskitError, ValueError):
    """A PUB failed our own check; nothing was sent and nothing was recorded. Qiskit raises either of its bases."""

    def __str__(self) -> str:  # QiskitError quotes
        return str(self.args[0])


class PubFailed(JobFailed, QiskitError):
    """The vendor refused, failed or cancelled a job of this call."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def also_qiskit() -> Iterator[None]:
    """Raise rejections and failures inside the block as QiskitError too."""
    try:
        yield
    except (PubRejected, PubFailed):
        raise
    except ProgramRejected as error:
        raise PubRejected(str(error)) from error
    except JobFailed as error:
        raise PubFailed(str(error), **{name: getattr(error, name) for name in error.fields}) from error


def fitting_primitive(constructor: Callable[P, None]) -> Callable[P, None]:
    """The constructor, whose calls are checked first: a device that is missing, or goes by another client's name."""
    kind = constructor.__qualname__.split(".")[-2]

    @wraps(constructor)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        with also_qiskit():
            check_call(kind, constructor, args, kwargs)
        constructor(*args, **kwargs)

    return checked
