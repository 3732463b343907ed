"""Names of accounts: stable, telling nothing, and for ever marked where an emulator stands for the vendor."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from qflows import providers
from qflows.privacy.accounts import account_name, is_emulated, is_loopback

ON_THIS_MACHINE = [
    "http://127.0.0.1:8000/v0.4",
    "http://localhost:1",
    "http://[::1]:5",
    "http://127.9.9.9",
    "https://a.localhost/",
]
ELSEWHERE = [
    None,
    "",
    "ibm",
    "https://api.ionq.co/v0.4",
    "https://127.0.0.1.evil.example",
    "https://localhost.example",
    "http://[",
]


@pytest.mark.parametrize("address", ON_THIS_MACHINE)
def test_emulator_s_account_says_so(address: str) -> None:
    name = account_name(address, "key-1")
    assert is_loopback(address)
    assert is_emulated(name)
    assert len(name) <= 64
    assert name == account_name(address, "key-1") != account_name(address, "key-2")


@pytest.mark.parametrize("address", ELSEWHERE, ids=str)
def test_vendor_s_account_is_sixteen_digits(address: str | None) -> None:
    name = account_name(address, "key-1")
    assert not is_emulated(name)
    assert len(name) == 16
    assert "key" not in name


REAL: Mapping[str, Mapping[str, str]] = {
    "ionq": {"api_key": "key-0123456789"},
    "qbraid": {"api_key": "key-0123456789"},
    "ibm": {"token": "key-0123456789", "instance": "crn:v1:x"},
    "braket": {"aws_access_key_id": "AKIA0123456789", "aws_secret_access_key": "secret-0123456789"},
}
ADDRESS = {"ionq": "api_url", "qbraid": "api_url", "ibm": "url", "braket": "endpoint_url"}


@pytest.mark.parametrize("vendor", REAL)
def test_same_key_at_an_emulator_is_another_account_with_the_mark(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    real = providers.connect(vendor, REAL[vendor])
    emulated = providers.connect(vendor, {**REAL[vendor], ADDRESS[vendor]: "http://127.0.0.1:9/api/v1"})
    assert not is_emulated(real.account)
    assert is_emulated(emulated.account)


def test_braket_at_an_address_of_the_environment_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert is_emulated(providers.connect("braket", REAL["braket"]).account)
