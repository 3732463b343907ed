"""One real Prefect server for the whole suite, and a vendor's desk for each test.

The server is a child with the settings that qflows recommends. In this process its address is put in force with
`temporary_settings`, test by test, so that tests without a server meet none; children get `PrefectServer.env`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# the flows to deploy are a module of their own, because other processes run them as well
sys.path.insert(0, str(Path(__file__).parent))

from prefect_server import PrefectServer, running  # noqa: E402

from qflows.sandbox import Admin, Sandbox  # noqa: E402


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The suite's server, up and answering."""
    with running(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def prefect_api(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """The server's address in force in this process, and sync flows that do not wait a second for their heartbeat."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

    settings = {
        PREFECT_API_URL: prefect_server.url,
        PREFECT_HOME: prefect_server.home,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    # threads that others start (Dask's, a process pool's) see no context; they would start a server of their own
    for name, value in prefect_server.env.items():
        monkeypatch.setenv(name, value)
    with temporary_settings(settings):
        yield prefect_server


@pytest.fixture
def ledger_env(tmp_path: Path) -> dict[str, str]:
    """A ledger of the test's own and paces that suit one."""
    return {
        "QFLOWS_HOME": str(tmp_path / "home"),
        "QFLOWS_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "QFLOWS_SETTLE_S": "0.3",
        "QFLOWS_POLL_MIN_S": "0.02",
    }


@pytest.fixture
def own_ledger(ledger_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """`ledger_env`, in force in this process; returned for children."""
    for name, value in ledger_env.items():
        monkeypatch.setenv(name, value)
    return ledger_env


@pytest.fixture
def ionq(sandbox: Sandbox, own_ledger: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Admin:
    """The emptied IonQ sandbox behind `ionq-simulator` in this process; the admin API counts what was bought."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    return sandbox.admin


@pytest.fixture
def child_env(sandbox: Sandbox, ionq: Admin, ledger_env: dict[str, str]) -> dict[str, str]:
    """Environment of a child that shares the test's ledger and sandbox, and knows no Prefect API."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return clean | sandbox.env | ledger_env
