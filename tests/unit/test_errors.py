"""The error tree: the retry law is the type, and every error crosses a process border whole."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from qflows import errors
from qflows.errors import Ambiguous, NotSent, ProviderError, QflowsError, Refused, Throttled, Unreadable, WaitTimeout


def tree(kind: type[QflowsError]) -> Iterator[type[QflowsError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


KINDS = sorted({k for k in tree(QflowsError) if k.__module__ == errors.__name__}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_error_survives_pickling_and_copying_with_its_fields(kind: type[QflowsError]) -> None:
    error = kind("what happened, and what to do", **{name: f"value of {name}" for name in kind.fields})
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == "what happened, and what to do"
        assert all(getattr(again, name) == f"value of {name}" for name in kind.fields)


@pytest.mark.parametrize("kind", KINDS)
def test_error_without_a_message_says_what_its_type_means(kind: type[QflowsError]) -> None:
    assert str(kind()) == (kind.__doc__ or "").splitlines()[0]
    assert all(getattr(kind(), name) is None for name in kind.fields)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_field_is_refused(kind: type[QflowsError]) -> None:
    with pytest.raises(TypeError, match="no_such_field"):
        kind("m", no_such_field=1)


def test_retry_laws_do_not_overlap() -> None:
    assert issubclass(Throttled, NotSent)
    laws = (Refused, NotSent, Ambiguous, Unreadable)
    assert all(issubclass(law, ProviderError) for law in laws)
    assert not any(issubclass(one, other) for one in laws for other in laws if one is not other)


def test_errors_of_the_standard_kind_are_caught_as_such() -> None:
    assert issubclass(WaitTimeout, TimeoutError)
    assert issubclass(errors.UnknownJob, LookupError)
