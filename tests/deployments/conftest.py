"""One `qflows up --sandbox` for a module of tests, in a home of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from running_stack import Stack  # noqa: E402


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that runs."""
    one = Stack(tmp_path_factory.mktemp("up"))
    one.start()
    yield one
    assert one.process is not None
    if one.process.poll() is None:
        one.stop()


@pytest.fixture
def api(stack: Stack) -> Iterator[Any]:
    """A client of the stack's Prefect server; the sandbox is emptied."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    stack.admin.reset()
    stack.admin.clock("instant")
    settings = {PREFECT_API_URL: stack.env["PREFECT_API_URL"]}
    settings[PREFECT_API_AUTH_STRING] = stack.env["PREFECT_API_AUTH_STRING"]
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield client
