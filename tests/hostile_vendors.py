"""Emulators behind a proxy that answers with what a test wants instead, for every vendor."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qflows.sandbox import Sandbox

_spec = importlib.util.spec_from_file_location("echo_server", Path(__file__).parent / "prefect" / "echo_server.py")
assert _spec is not None
assert _spec.loader is not None
echo_server = importlib.util.module_from_spec(_spec)
sys.modules.setdefault(_spec.name, echo_server)
_spec.loader.exec_module(echo_server)

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


@dataclass(frozen=True)
class Vendor:
    """How a vendor is reached: variables of addresses with their paths, of secrets, and others."""

    name: str
    device: str
    urls: Mapping[str, str]
    secrets: tuple[str, ...]
    more: Mapping[str, str] = field(default_factory=dict)
    session_device: str | None = None


VENDORS = {
    one.name: one
    for one in (
        Vendor("ionq", "ionq-simulator", {"IONQ_API_URL": "/v0.4"}, ("IONQ_API_KEY",), session_device="ionq-forte-1"),
        Vendor(
            "ibm",
            "ibm-sandbox",
            {"QISKIT_IBM_URL": "/api/v1"},
            ("QISKIT_IBM_TOKEN",),
            {"QISKIT_IBM_CHANNEL": "ibm_quantum_platform"},
            "ibm-sandbox",
        ),
        Vendor(
            "braket",
            "braket-sv1",
            {"AWS_ENDPOINT_URL": ""},
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
            {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"},
        ),
        Vendor(
            "qbraid",
            "qbraid-qir-sv",
            {"QBRAID_API_URL": "/api/v1"},
            ("QBRAID_API_KEY",),
            {"QBRAID_CONFIG_FILE": os.devnull},
        ),
    )
}
_FOREIGN = ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_BRAKET")


@contextmanager
def behind_a_proxy(
    vendor: Vendor, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, secrets: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """The environment of a vendor whose every request goes through the proxy, which passes all on at first."""
    with echo_server.running() as proxy:
        proxy.only, proxy.behind = "(?!)", sandbox.urls[vendor.name]
        env = {**sandbox.env, **vendor.more, **(secrets or {})}
        env |= {variable: proxy.url + path for variable, path in vendor.urls.items()}
        for name in _FOREIGN:
            env.pop(name, None)
            monkeypatch.delenv(name, raising=False)
        for name, value in ({**env, **{v: proxy.url + p for v, p in vendor.urls.items()}}).items():
            monkeypatch.setenv(name, value)
        yield proxy
