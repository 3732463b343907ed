"""A place in Prefect for an IBM Quantum API key. Imports no vendor code: Prefect loads it when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from qflows.protocol import Provider


class IBMCredentials(CredentialsBlock):
    """An IBM Cloud API key, and the IBM Quantum instance that jobs are charged to.

    Example:
        Load IBM Quantum credentials:

        ```python
        from qflows.providers.ibm.credentials import IBMCredentials

        credentials = IBMCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows IBM Quantum Credentials"
    _block_type_slug = "qflows-ibm-credentials"
    _logo_url = "https://avatars.githubusercontent.com/Qiskit?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://quantum.cloud.ibm.com/docs/guides/cloud-setup"  # pyright: ignore[reportAssignmentType]

    token: SecretStr = Field(title="API key", description="IBM Cloud API key.")
    instance: str | None = Field(
        default=None, description="CRN or name of the instance; may be left out if the account has only one."
    )
    channel: Literal["ibm_quantum_platform", "ibm_cloud"] = Field(
        default="ibm_quantum_platform", description="Platform; both names lead to the same one."
    )
    region: Literal["us-east", "eu-de"] | None = Field(
        default=None, description="Narrows the choice where no instance is given."
    )
    url: str | None = Field(
        default=None, description="Address of the API; leave empty for IBM itself. On loopback it means a sandbox."
    )
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")

    def get_client(self) -> Provider:
        """The IBM provider. Makes no request. Raises CredentialsMissing for a sandbox configured by half."""
        from qflows.providers import connect

        fields = ("token", "instance", "channel", "region", "url")
        return connect("ibm", {name: getattr(self, name) for name in fields}, timeout_s=self.timeout_s)
