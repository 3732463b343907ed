"""The credentials block for Amazon Braket. Imports no AWS library: Prefect loads blocks at its start."""

from __future__ import annotations

from typing import Any

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr


class BraketCredentials(CredentialsBlock):
    """Keys, profile or role for Amazon Braket, and where its results go. What is left out comes from the environment.

    `endpoint_url` points Braket, S3 and STS at another address, such as the sandbox.

    Example:
        Load Amazon Braket credentials:

        ```python
        from qflows.providers.braket.credentials import BraketCredentials

        credentials = BraketCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows Braket Credentials"
    _block_type_slug = "qflows-braket-credentials"
    _logo_url = "https://avatars.githubusercontent.com/amazon-braket?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://docs.aws.amazon.com/braket/"  # pyright: ignore[reportAssignmentType]

    profile: str | None = Field(default=None, description="Profile of ~/.aws/config.")
    aws_access_key_id: SecretStr | None = Field(default=None, description="Access key id.")
    aws_secret_access_key: SecretStr | None = Field(default=None, description="Secret access key.")
    aws_session_token: SecretStr | None = Field(default=None, description="Token of temporary keys.")
    role_arn: str | None = Field(default=None, description="Role to assume with these credentials.")
    region: str | None = Field(default=None, description="Region for managed simulators; QPUs name their own.")
    endpoint_url: str | None = Field(default=None, description="Another address for Braket, S3 and STS.")
    s3_bucket: str | None = Field(default=None, description="Bucket for results; left out: the SDK's default bucket.")
    s3_prefix: str | None = Field(default=None, description="Key prefix in the bucket.")

    def get_client(self) -> Any:
        """The provider these credentials give. Makes no request."""
        from qflows.providers.braket.adapter import connect

        return connect(self.model_dump(exclude_none=True), timeout_s=30.0)
