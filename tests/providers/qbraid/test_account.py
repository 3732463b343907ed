"""Which account and address the adapter takes, and that its secrets stay out of sight."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from qflows import providers
from qflows.errors import CredentialsMissing
from qflows.prefect.blocks.collection import QbraidCredentials
from qflows.providers.qbraid.account import PRODUCTION, find_account
from qflows.sandbox import Sandbox
from qflows.testing import CANARY, shown_by

HOST_KEY = f"eq1_{base64.b32encode(b'api.example.com').decode().rstrip('=').lower()}.{'0a' * 32}"


@pytest.fixture
def config_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "qbraidrc"
    monkeypatch.setenv("QBRAID_CONFIG_FILE", str(path))
    return path


def test_no_credentials_says_what_to_set() -> None:
    with pytest.raises(CredentialsMissing, match="QBRAID_API_KEY"):
        find_account({})


def test_config_file_beats_the_environment_and_an_argument_beats_both(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QBRAID_API_KEY", "from-environment")
    assert find_account({}).secret == "from-environment"
    config_file.write_text("[default]\napi-key = from-%(file\nurl = https://saved.example.com/api/v1\n")
    account = find_account({})
    assert (account.secret, account.base_url) == ("from-%(file", "https://saved.example.com/api/v1")
    assert find_account({"api_key": SecretStr("given")}).secret == "given"


def test_address_order_is_argument_environment_key_file_production(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_account({"api_key": "k"}).base_url == PRODUCTION
    config_file.write_text("[default]\nurl = https://saved.example.com/api/v1/\n")
    assert find_account({"api_key": "k"}).base_url == "https://saved.example.com/api/v1"
    assert find_account({"api_key": HOST_KEY}).base_url == "https://api.example.com/api/v1"
    monkeypatch.setenv("QBRAID_API_URL", "https://env.example.com/api/v1")
    assert find_account({"api_key": HOST_KEY}).base_url == "https://env.example.com/api/v1"
    assert find_account({"api_key": "k", "api_url": "https://given.example.com"}).base_url == (
        "https://given.example.com"
    )


def test_token_is_used_instead_of_a_key_and_its_host_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QBRAID_ACCESS_TOKEN", "token")
    monkeypatch.setenv("QBRAID_API_KEY", HOST_KEY)
    account = find_account({})
    assert (account.header, account.secret, account.base_url) == ("X-Access-Token", "token", PRODUCTION)
    assert find_account({"api_key": "given"}).header == "X-API-Key"


def test_key_with_an_address_for_a_host_names_none() -> None:
    inside = base64.b32encode(b"10.0.0.1").decode().rstrip("=").lower()
    assert find_account({"api_key": f"eq1_{inside}.{'0a' * 32}"}).base_url == PRODUCTION


def test_broken_config_file_shows_nothing_of_its_content(config_file: Path) -> None:
    config_file.write_text(f"api-key = {CANARY}\n")
    with pytest.raises(CredentialsMissing) as caught:
        find_account({})
    assert CANARY not in shown_by(caught.value)


def test_key_does_not_travel_in_clear() -> None:
    with pytest.raises(CredentialsMissing, match="https"):
        providers.connect("qbraid", {"api_key": "k", "api_url": "http://example.com/api/v1"})


def test_secret_shows_in_no_representation() -> None:
    account = find_account({"api_key": CANARY})
    assert CANARY not in repr(account) + account.name
    with pytest.raises(CredentialsMissing) as caught:
        providers.connect("qbraid", {"api_key": CANARY, "api_url": "http://example.com"})
    assert CANARY not in shown_by(caught.value)


def test_block_gives_a_provider_and_hides_its_secret(sandbox: Sandbox) -> None:
    block = QbraidCredentials(api_key=SecretStr(CANARY), api_url=f"{sandbox.url}/api/v1")
    assert {device.device_id for device in block.get_client().devices()}
    assert CANARY not in repr(block) + str(block) + block.model_dump_json()
    assert QbraidCredentials.get_block_type_slug() == "qflows-qbraid-credentials"


def test_sandbox_environment_is_all_a_user_needs(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    assert providers.connect("qbraid").devices()
