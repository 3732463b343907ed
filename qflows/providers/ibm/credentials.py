"""What it takes to speak to IBM Quantum."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from qflows.protocol import VendorCredentials


class IBMCredentials(VendorCredentials):
    """An IBM Cloud API key, and the IBM Quantum instance that jobs are charged to."""

    vendor: ClassVar[str] = "ibm"
    title: ClassVar[str] = "qflows IBM Quantum Credentials"
    logo_url: ClassVar[str] = "https://avatars.githubusercontent.com/Qiskit?s=200"
    documentation_url: ClassVar[str] = "https://quantum.cloud.ibm.com/docs/guides/cloud-setup"

    token: SecretStr = Field(title="API key", description="IBM Cloud API key.")
    instance: str | None = Field(
        default=None, description="CRN or name of the instance; may be left out if the account has only one."
    )
    channel: Literal["ibm_quantum_platform", "ibm_cloud"] = Field(
        default="ibm_quantum_platform", description="Platform; both names mean the same one."
    )
    region: Literal["us-east", "eu-de"] | None = Field(
        default=None, description="Narrows the choice where no instance is given."
    )
    url: str | None = Field(
        default=None, description="Address of the API; leave empty for IBM itself. On loopback it means a sandbox."
    )
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")
