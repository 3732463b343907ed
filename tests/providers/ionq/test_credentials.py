"""Where the IonQ key comes from, and that it goes nowhere else."""

from __future__ import annotations

import ast
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from qflows import providers
from qflows.errors import CredentialsMissing, ProviderError
from qflows.prefect.blocks.collection import IonQCredentials
from qflows.providers.ionq import credentials
from qflows.providers.ionq.adapter import PRODUCTION, IonQProvider
from qflows.sandbox import Sandbox
from qflows.testing import CANARY, Target, bell, send_job, spec_of


def test_block_gives_a_provider_of_its_account(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/v0.4"
    block = IonQCredentials(api_key=SecretStr(CANARY), api_url=url)
    client = block.get_client()
    assert client.account == providers.connect("ionq", {"api_key": CANARY, "api_url": url}).account
    assert client.devices()


def test_block_shows_its_key_nowhere() -> None:
    block = IonQCredentials(api_key=SecretStr(CANARY))
    assert CANARY not in repr(block) + str(block) + block.model_dump_json() + str(block.get_client().account)


def test_block_without_a_key_is_refused_by_its_schema() -> None:
    with pytest.raises(ValueError, match="api_key"):
        IonQCredentials()  # pyright: ignore[reportCallIssue]


def test_block_has_the_slug_that_documents_name() -> None:
    assert IonQCredentials.get_block_type_slug() == "qflows-ionq-credentials"


def test_given_key_does_not_follow_the_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_URL", "https://elsewhere.example/v0.4")
    provider = providers.connect("ionq", {"api_key": CANARY})
    assert isinstance(provider, IonQProvider)
    assert provider._http.base_url == PRODUCTION


@pytest.mark.parametrize("name", ["QISKIT_IONQ_API_TOKEN", "IONQ_API_KEY", "IONQ_API_TOKEN"])
def test_key_is_found_where_qiskit_ionq_finds_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, CANARY)
    provider = providers.connect("ionq")
    assert provider.account == providers.connect("ionq", {"api_key": CANARY}).account


def test_without_a_key_the_remedy_is_named() -> None:
    with pytest.raises(CredentialsMissing, match="IONQ_API_KEY"):
        providers.connect("ionq")


@pytest.mark.parametrize("url", ["http://api.ionq.co/v0.4", "ftp://127.0.0.2/x", "http://127.0.0.1.example.com/v0.4"])
def test_key_does_not_travel_in_clear(url: str) -> None:
    with pytest.raises(CredentialsMissing, match="https"):
        providers.connect("ionq", {"api_key": CANARY, "api_url": url})


def test_two_keys_are_two_accounts() -> None:
    one, other = (providers.connect("ionq", {"api_key": key}).account for key in ("a", "b"))
    assert one != other


def test_loopback_is_reached_past_a_proxy_of_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    assert providers.connect("ionq", {"api_key": CANARY, "api_url": f"{sandbox.url}/v0.4"}).devices()


@pytest.mark.parametrize("kind", ["drop_after", "truncate", "unreachable", "refused"])
def test_key_is_in_no_local_of_a_traceback(sandbox: Sandbox, closed_port: int, kind: str) -> None:
    url = f"http://127.0.0.1:{closed_port}" if kind == "unreachable" else sandbox.url
    provider = providers.connect("ionq", {"api_key": CANARY, "api_url": f"{url}/v0.4"})
    for route, call in (
        ("ionq.submit", lambda: send_job(provider, spec_of(provider, Target("simulator"), bell(), shots=5), "0" * 64)),
        ("ionq.list", lambda: provider.poll(["x"])),
    ):
        if kind == "refused":
            sandbox.admin.fault("status", route, status=401)
        elif kind != "unreachable":
            sandbox.admin.fault(kind, route)
        with pytest.raises(ProviderError) as caught:
            call()
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        # the test's own frames are not what is looked at
        assert CANARY not in shown.partition("qflows/providers/ionq")[2]


def test_block_module_imports_no_vendor_code_at_the_top() -> None:
    assert credentials.__file__
    tree = ast.parse(Path(credentials.__file__).read_text())
    tops = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert tops == {"__future__", "typing", "pydantic", "qflows.protocol"}
    assert not any(isinstance(node, ast.Import) for node in tree.body)
