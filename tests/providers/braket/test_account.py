"""Credentials, regions and buckets: from a block or from the environment the Braket SDK reads; no secret shown."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from braket_devices import BUCKET, GARNET, SV1

from qflows import providers
from qflows.errors import CredentialsMissing, NotSent, ProgramRejected, Refused
from qflows.prefect.blocks.collection import BraketCredentials
from qflows.protocol import JobSpec
from qflows.sandbox import Sandbox
from qflows.testing import CANARY, bell, key_of, run, send_job, shown_by


def spec(device: str = SV1) -> JobSpec:
    return JobSpec("braket", device, (bell(),), 10)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither the developer's AWS files nor their variables."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.fixture
def environment(no_files: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """What the sandbox tells its user to export."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    return sandbox


def test_environment_of_the_sdk_is_enough(environment: Sandbox) -> None:
    provider = providers.connect("braket")
    assert run(provider, spec(), key_of("env")).items[0].counts
    (job,) = environment.admin.jobs("braket")
    assert job["facts"]["bucket"] == "amazon-braket-us-east-1-123456789012"


def test_default_bucket_is_made_once_per_region(environment: Sandbox) -> None:
    provider = providers.connect("braket")
    for i in range(2):
        send_job(provider, spec(), key_of("us", i))
        send_job(provider, spec(GARNET), key_of("eu", i))
    assert environment.admin.requests("braket.s3_create_bucket") == 2
    assert {job["facts"]["bucket"] for job in environment.admin.jobs("braket")} == {
        "amazon-braket-us-east-1-123456789012",
        "amazon-braket-eu-north-1-123456789012",
    }


@pytest.mark.parametrize(
    ("bucket", "switches", "says"),
    [
        ("amazon-braket-absent", {}, "does not exist"),
        ("amazon-braket-theirs", {"foreign_buckets": "amazon-braket-theirs"}, "another account"),
        (BUCKET, {"bucket_region": "eu-north-1"}, "is in eu-north-1, and tasks of us-east-1"),
    ],
)
def test_bucket_that_cannot_take_the_results_is_refused_before_anything_is_sent(
    environment: Sandbox, monkeypatch: pytest.MonkeyPatch, bucket: str, switches: dict[str, str], says: str
) -> None:
    environment.admin.switches("braket", **switches)
    monkeypatch.setenv("AMZN_BRAKET_OUT_S3_BUCKET", bucket)
    provider = providers.connect("braket")
    with pytest.raises(Refused, match=says) as caught:
        provider.prepare(spec(), key_of("bucket", bucket))
    assert "AMZN_BRAKET_OUT_S3_BUCKET" in str(caught.value)
    assert environment.admin.requests("braket.submit") == 0


def test_good_bucket_is_looked_at_once_per_region(environment: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMZN_BRAKET_OUT_S3_BUCKET", BUCKET)
    provider = providers.connect("braket")
    for i in range(3):
        send_job(provider, spec(), key_of("once", i))
        send_job(provider, spec(GARNET), key_of("once eu", i))
    assert environment.admin.requests("braket.s3_head_bucket") == 2


def test_default_bucket_that_somebody_else_made_first_gets_no_results(environment: Sandbox) -> None:
    environment.admin.switches("braket", foreign_buckets="amazon-braket-us-east-1-123456789012")
    with pytest.raises(Refused, match="another account"):
        providers.connect("braket").prepare(spec(), key_of("taken"))
    assert environment.admin.requests("braket.s3_create_bucket") == 0
    assert environment.admin.count_jobs("braket") == 0


def test_place_for_results_of_the_sdk_is_used(environment: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMZN_BRAKET_TASK_RESULTS_S3_URI", f"s3://{BUCKET}/my/place")
    send_job(providers.connect("braket"), spec(), key_of("uri"))
    (job,) = environment.admin.jobs("braket")
    assert job["facts"]["bucket"] == BUCKET
    assert job["facts"]["directory"].startswith(f"my/place/{key_of('uri')}/")


def test_profile_of_a_config_file_is_used(no_files: Path, sandbox: Sandbox) -> None:
    (no_files / "config").write_text(
        f"[profile lab]\nregion = us-west-2\nendpoint_url = {sandbox.url}\n"
        f"aws_access_key_id = AKIALAB\naws_secret_access_key = {CANARY}\n"
    )
    provider = providers.connect("braket", {"profile": "lab", "s3_bucket": BUCKET})
    assert ":us-west-2:" in send_job(provider, spec(), key_of("profile")).vendor_id
    with pytest.raises(CredentialsMissing, match="nobody"):
        providers.connect("braket", {"profile": "nobody"})


def test_role_is_assumed_on_the_first_request(no_files: Path, sandbox: Sandbox) -> None:
    given = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": CANARY, "region": "us-east-1"}
    given |= {"role_arn": "arn:aws:iam::123456789012:role/q", "endpoint_url": sandbox.url, "s3_bucket": BUCKET}
    provider = providers.connect("braket", given)
    assert sandbox.admin.requests("braket.sts") == 0
    send_job(provider, spec(), key_of("role"))
    assert sandbox.admin.requests("braket.sts") == 1
    plain = providers.connect("braket", {name: value for name, value in given.items() if name != "role_arn"})
    assert provider.account != plain.account


def test_role_that_cannot_be_assumed_is_not_sent(no_files: Path, sandbox: Sandbox) -> None:
    given = {"aws_access_key_id": "invalid", "aws_secret_access_key": CANARY, "region": "us-east-1"}
    given |= {"role_arn": "arn:aws:iam::123456789012:role/q", "endpoint_url": sandbox.url, "s3_bucket": BUCKET}
    with pytest.raises(NotSent, match="AssumeRole") as caught:
        send_job(providers.connect("braket", given), spec(), key_of("no role"))
    assert CANARY not in shown_by(caught.value)
    assert sandbox.admin.requests("braket.submit") == 0


@pytest.mark.parametrize(
    ("key", "code"), [("invalid", "UnrecognizedClientException"), ("denied", "AccessDeniedException")]
)
def test_bad_keys_are_refused_by_name(no_files: Path, sandbox: Sandbox, key: str, code: str) -> None:
    given = {"aws_access_key_id": key, "aws_secret_access_key": CANARY, "region": "us-east-1"}
    provider = providers.connect("braket", given | {"endpoint_url": sandbox.url, "s3_bucket": BUCKET})
    with pytest.raises(Refused) as caught:
        send_job(provider, spec(), key_of(key))
    assert caught.value.vendor_code == code
    assert CANARY not in shown_by(caught.value)


def test_missing_credentials_say_what_to_set(no_files: Path) -> None:
    with pytest.raises(CredentialsMissing, match="AWS_ACCESS_KEY_ID"):
        providers.connect("braket")


def test_keys_do_not_travel_in_clear(no_files: Path) -> None:
    given = {"aws_access_key_id": "A", "aws_secret_access_key": CANARY, "region": "us-east-1"}
    provider = providers.connect("braket", given | {"endpoint_url": "http://braket.example", "s3_bucket": BUCKET})
    with pytest.raises(NotSent, match="https"):
        send_job(provider, spec(), key_of("clear"))


def test_block_gives_the_provider_and_hides_its_secrets(no_files: Path, sandbox: Sandbox) -> None:
    secrets: dict[str, Any] = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": CANARY}
    block = BraketCredentials(**secrets, region="us-east-1", endpoint_url=sandbox.url, s3_bucket=BUCKET)
    assert CANARY not in repr(block) + str(block) + block.model_dump_json()
    assert send_job(block.get_client(), spec(), key_of("block")).vendor_id
    assert BraketCredentials.get_block_type_slug() == "qflows-braket-credentials"


def test_our_requests_name_the_schemas_that_make_aws_show_openqasm(no_files: Path, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", schemas_agent="needed")
    given = {"aws_access_key_id": "A", "aws_secret_access_key": "x", "endpoint_url": sandbox.url}
    provider = providers.connect("braket", given | {"region": "us-east-1", "s3_bucket": BUCKET})
    limits = provider.limits(GARNET)
    assert (limits.max_qubits, limits.max_shots, limits.max_programs) == (20, 20_000, 100)
    assert provider.limits(SV1).max_programs == 1


def test_devices_of_all_regions_are_listed_with_their_queues(no_files: Path, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", offline="Garnet")
    sandbox.admin.clock("frozen")
    given = {"aws_access_key_id": "A", "aws_secret_access_key": "x", "endpoint_url": sandbox.url}
    provider = providers.connect("braket", given | {"region": "us-east-1", "s3_bucket": BUCKET})
    send_job(provider, spec(), key_of("queue"))
    devices = {device.device_id: device for device in provider.devices()}
    assert devices[SV1].queue_length == 1
    assert devices[SV1].is_simulator
    assert not devices[GARNET].is_available
    assert devices[GARNET].note == "OFFLINE"
    assert not any("Aspen" in arn for arn in devices)


def test_estimate_is_the_task_fee_and_the_shots(no_files: Path, sandbox: Sandbox) -> None:
    given = {"aws_access_key_id": "A", "aws_secret_access_key": "x", "endpoint_url": sandbox.url}
    provider = providers.connect("braket", given | {"region": "us-east-1", "s3_bucket": BUCKET})
    cost = provider.estimate(JobSpec("braket", GARNET, (bell(), bell()), 1000))
    assert cost is not None
    assert (cost.expected, cost.bound) == (Decimal("3.20"), Decimal("3.20"))  # one task fee for the program set
    simulated = provider.estimate(spec())
    assert simulated is not None
    assert (simulated.expected, simulated.bound) == (None, None)
    assert "0.075 USD a minute" in simulated.source
    with pytest.raises(Refused, match="ARN"):
        provider.limits("garnet")
    with pytest.raises(ProgramRejected, match="ARN"):
        provider.check(spec("garnet"))


def test_neither_block_nor_adapter_imports_an_aws_library_before_it_is_used() -> None:
    code = (
        "import sys, qflows.providers.braket.credentials, qflows.providers.braket.adapter as a;"
        "print([m for m in ('boto3', 'botocore', 'braket', 'qiskit') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
