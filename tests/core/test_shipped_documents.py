"""The documents in `blocks/`: all of them read, and say what a reader may rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflows import providers
from qflows.core import budgets, documents, profiles
from qflows.core.client import Client
from qflows.errors import CredentialsMissing, DocumentError, UnknownDevice
from qflows.prefect.blocks import apply

FOLDER = profiles.documents_folder()
RULES = sorted(FOLDER.joinpath("devices").glob("*-qpu.yaml"))
DEVICES = sorted(set(FOLDER.rglob("devices/*.yaml")) - set(RULES))
CREDENTIALS = sorted(FOLDER.rglob("credentials/*.yaml"))
# what `qflows sandbox start` prints, and with it every variable that a document names
ENVIRONMENT = {
    "IONQ_API_KEY": "k",
    "IONQ_API_URL": "http://127.0.0.1:1/v0.4",
    "QISKIT_IBM_TOKEN": "k",
    "QISKIT_IBM_INSTANCE": "crn:v1:x",
    "QISKIT_IBM_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "QBRAID_API_KEY": "k",
    "QBRAID_API_URL": "http://127.0.0.1:1/api/v1",
}


def _id(path: Path) -> str:
    return str(path.relative_to(FOLDER))


@pytest.mark.parametrize("path", DEVICES, ids=_id)
def test_device_document_is_whole(path: Path) -> None:
    profile = profiles.read(path)
    assert profile.name == path.stem
    assert profile.description
    assert profile.provider in providers.names()
    assert profile.simulator is not None
    if profile.price and (profile.price.per_job or profile.price.per_shot or profile.price.per_minute):
        assert profile.price.source
        assert profile.price.date
    if profile.exact:
        assert profile.simulator


@pytest.mark.parametrize("path", RULES, ids=_id)
def test_rule_document_is_whole_and_becomes_a_block(path: Path) -> None:
    rule = profiles.shipped_rules()[path.stem]
    assert rule.description
    wanted = apply.read(path, {})
    assert wanted.reference == f"qflows-device-rule/{path.stem}"
    read = Client().rule(path.stem)
    assert read is not None
    assert (read.name, str(read)) == (path.stem, rule.rule)
    assert path.stem not in profiles.shipped()


def test_rule_with_a_mistake_names_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('kind: rule\nname: mine\nrule: "cheapst(ionq-*)"\n')
    with pytest.raises(DocumentError, match=r"line 3, key 'rule': .*did you mean cheapest"):
        apply.read(path, {})
    path.write_text("kind: rule\nname: mine\nrul: best(a)\n")
    with pytest.raises(DocumentError, match=r"mine\.yaml"):
        apply.read(path, {})


@pytest.mark.parametrize("path", CREDENTIALS, ids=_id)
def test_credentials_document_takes_its_secrets_from_the_environment(path: Path) -> None:
    wanted = apply.read(path, ENVIRONMENT)
    assert wanted.reference.startswith(f"qflows-{path.stem}-credentials/")
    assert "${" in path.read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("budgets/*.yaml")), ids=_id)
def test_budget_document_is_whole_and_has_a_rate_for_every_unit_that_vendors_bill_in(path: Path) -> None:
    wanted = budgets.from_document(documents.load(path))
    assert wanted.name == path.stem
    assert wanted.description
    assert {"credits", "qpu_s", wanted.currency} <= {*wanted.rates, "usd"}


def test_every_vendor_has_devices_credentials_and_a_sandbox() -> None:
    vendors = set(providers.names())
    assert {profiles.read(path).provider for path in DEVICES if path.parents[1] == FOLDER} == vendors
    remote = vendors - {"local"}
    assert {path.stem for path in CREDENTIALS if path.parents[1] == FOLDER} == remote
    assert {path.stem for path in CREDENTIALS if path.parents[1] != FOLDER} == remote
    assert {profiles.read(path).provider for path in DEVICES if path.parents[1] != FOLDER} == remote


def test_sandbox_devices_are_bound_to_an_address_and_never_ship_as_names() -> None:
    sandboxed = [profiles.read(path) for path in DEVICES if path.parents[1].name == "sandbox"]
    assert sandboxed
    for profile in sandboxed:
        assert profile.credentials == f"qflows-{profile.provider}-credentials/sandbox"
        assert profile.name not in profiles.shipped()
        document = documents.load(FOLDER / "sandbox" / "credentials" / f"{profile.provider}.yaml")
        assert any(str(value).endswith("_URL}") for value in document.body["fields"].values())


def test_shipped_devices_need_no_saved_block() -> None:
    assert all(profile.credentials is None for profile in profiles.shipped().values())


def test_shipped_local_device_runs_without_any_set_up() -> None:
    assert Client().device("local-exact").limits.exact


def test_shipped_remote_device_says_what_it_needs() -> None:
    with pytest.raises(CredentialsMissing, match="IONQ_API_KEY"):
        Client().device("ionq-simulator")


@pytest.mark.parametrize("name", sorted(profiles.retired()))
def test_retired_device_says_when_and_what_comes_nearest(name: str) -> None:
    profile = profiles.find(name)
    assert profile is not None
    assert profile.nearest in profiles.shipped()
    assert name not in profiles.shipped()
    assert profile.device not in {living.device for living in profiles.shipped().values()}
    with pytest.raises(UnknownDevice, match=f"was retired (on|by) {profile.retired}; nearest: {profile.nearest}"):
        profiles.check_living(profile)
