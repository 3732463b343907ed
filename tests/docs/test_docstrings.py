"""The examples in docstrings of public names run and print what they show."""

from __future__ import annotations

import doctest
import inspect
import os
from pathlib import Path

import pytest

import qflows


def example_of(name: str) -> doctest.DocTest:
    public = getattr(qflows, name)
    text = inspect.getdoc(getattr(public, "fn", public)) or ""
    return doctest.DocTestParser().get_doctest(text, {"qflows": qflows}, name, None, None)


WITH_EXAMPLES = [name for name in qflows.__all__ if ">>> " in (inspect.getdoc(getattr(qflows, name)) or "")]


def test_the_verbs_that_everybody_needs_have_examples() -> None:
    assert {"submit", "run", "batch", "session", "group", "Counts"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_example_prints_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [one for one in os.environ if one.startswith("PREFECT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    told: list[str] = []
    done = doctest.DocTestRunner().run(example_of(name), out=told.append)
    assert done.attempted > 0
    assert done.failed == 0, "".join(told)
