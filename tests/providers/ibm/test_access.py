"""Which account and address the adapter uses, and that a sandbox is never left: settings, guard, credentials block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qflows import providers
from qflows.errors import CredentialsMissing, NotSent, Refused
from qflows.protocol import JobSpec, Provider
from qflows.providers.ibm.access import find_access
from qflows.sandbox import Sandbox
from qflows.testing import CANARY, bell, send_job, shown_by

LOCAL = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_saved_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without `~/.qiskit`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_any_key_it_says_what_to_set() -> None:
    with pytest.raises(CredentialsMissing, match="QISKIT_IBM_TOKEN"):
        find_access(None)


def test_environment_of_the_vendors_client_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TOKEN": "t", "INSTANCE": "crn:1", "URL": f"{LOCAL}/experimental/api/v1"}.items():
        monkeypatch.setenv(f"QISKIT_IBM_{name}", value)
    access = find_access(None)
    assert (access.token, access.instance, access.base_url) == ("t", "crn:1", f"{LOCAL}/experimental/api/v1")
    assert access.is_sandbox


def test_saved_default_account_is_used_like_the_client_does(no_saved_account: Path) -> None:
    folder = no_saved_account / ".qiskit"
    folder.mkdir()
    accounts = {
        "other": {"channel": "ibm_quantum_platform", "token": "no"},
        "mine": {"channel": "ibm_cloud", "token": "yes", "instance": "crn:2", "is_default_account": True},
    }
    (folder / "qiskit-ibm.json").write_text(json.dumps(accounts))
    access = find_access(None)
    assert (access.token, access.instance, access.channel) == ("yes", "crn:2", "ibm_cloud")
    assert access.base_url is None


def test_bare_sandbox_address_gets_the_path_and_services_of_loopback() -> None:
    access = find_access({"token": "t", "url": LOCAL})
    assert access.base_url == f"{LOCAL}/api/v1"
    assert access.services["IAM_URL"] == f"{LOCAL}/iam"


@pytest.mark.parametrize("name", ["QISKIT_IBM_URL", "IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"])
def test_half_a_sandbox_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"{LOCAL}/x")
    with pytest.raises(CredentialsMissing, match=name):
        find_access({"token": "real-key", "url": "https://quantum.example.com/api/v1"})


def test_real_iam_address_in_the_environment_is_not_used_for_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAM_URL", "https://iam.cloud.ibm.com")
    assert find_access({"token": "t", "url": LOCAL}).services["IAM_URL"] == f"{LOCAL}/iam"


@pytest.mark.parametrize(
    "fields", [{"url": "http://example.com"}, {"channel": "ibm_q"}, {"region": "moon"}], ids=lambda f: next(iter(f))
)
def test_bad_setting_is_named(fields: dict[str, str]) -> None:
    with pytest.raises(CredentialsMissing):
        find_access({"token": "t"} | fields)


def test_new_key_for_the_same_instance_keeps_the_account() -> None:
    one, two = (find_access({"token": token, "instance": "crn:3"}) for token in ("old", "new"))
    other = find_access({"token": "old", "instance": "crn:4"})
    assert one.account == two.account != other.account


def test_connecting_imports_no_vendor_code_and_sends_nothing(sandbox: Sandbox) -> None:
    code = (
        "import sys; from qflows import providers; "
        f"providers.connect('ibm', {{'token': 't', 'url': {sandbox.url!r}}}); "
        "import qflows.providers.ibm.wire; "
        "assert not {'qiskit_ibm_runtime', 'qiskit', 'requests', 'prefect'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert sandbox.admin.journal() == []


def test_environment_is_left_as_it_was(sandbox: Sandbox, provider: Provider) -> None:
    before = dict(os.environ)
    assert provider.devices()
    assert dict(os.environ) == before


def test_sandbox_is_not_left_even_if_the_client_is_led_away(provider: Any) -> None:
    assert provider.devices()
    for path in ("https://quantum.cloud.ibm.com/api/v1", "http://192.0.2.1/api/v1"):

        def elsewhere(client: Any, base: str = path) -> Any:
            before, client._session.base_url = client._session.base_url, base
            try:
                return client.list_backends()
            finally:
                client._session.base_url = before

        with pytest.raises(NotSent, match="sandbox"):
            provider._runtime.read("the device list", elsewhere)


def test_bad_key_is_refused_by_iam_and_reaches_no_other_host(sandbox: Sandbox) -> None:
    provider = providers.connect("ibm", {"token": f"bad-{CANARY}", "url": sandbox.url}, timeout_s=5)
    with pytest.raises(Refused, match="IAM refused") as caught:
        provider.devices()
    assert CANARY not in shown_by(caught.value)
    assert {entry["route"] for entry in sandbox.admin.journal()} == {"ibm.token"}


def test_account_with_several_instances_asks_which(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> None:
    with pytest.raises(Refused, match=r"sandbox \(pay-as-you-go\), sandbox-eu") as caught:
        providers.connect("ibm", {"token": "t", "url": sandbox.url}).devices()
    assert "QISKIT_IBM_INSTANCE" in str(caught.value)
    assert providers.connect("ibm", {"token": "t", "url": sandbox.url, "region": "eu-de"}).devices()


def test_instance_may_be_given_by_name_and_an_unknown_one_is_refused(sandbox: Sandbox) -> None:
    assert providers.connect("ibm", {"token": "t", "url": sandbox.url, "instance": "sandbox-eu"}).devices()
    for unknown in ("nobody", "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::"):
        with pytest.raises(Refused, match="QISKIT_IBM_INSTANCE"):
            providers.connect("ibm", {"token": "t", "url": sandbox.url, "instance": unknown}).devices()


def test_iam_out_of_order_means_nothing_was_sent_and_heals(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.fault("status", "ibm.token", status=503)
    spec = JobSpec("ibm", "ibm_manila", (bell(),), 10)
    with pytest.raises(NotSent):
        send_job(provider, spec, "a" * 64)
    assert sandbox.admin.requests("ibm.submit") == 0
    assert send_job(provider, spec, "a" * 64).vendor_id


def test_credentials_block_gives_a_provider_and_hides_the_key(sandbox: Sandbox) -> None:
    from pydantic import SecretStr

    from qflows.prefect.blocks.collection import IBMCredentials

    instance = sandbox.env["QISKIT_IBM_INSTANCE"]
    block = IBMCredentials(token=SecretStr(CANARY), instance=instance, url=sandbox.url)
    assert block.get_client().devices()
    assert CANARY not in repr(block) + str(block) + block.model_dump_json()
    assert IBMCredentials.get_block_type_slug() == "qflows-ibm-credentials"
