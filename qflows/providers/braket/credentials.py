"""What it takes to speak to Amazon Braket."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from qflows.protocol import VendorCredentials


class BraketCredentials(VendorCredentials):
    """Keys, profile or role for Amazon Braket, and where its results go. What is left out comes from the environment.

    `endpoint_url` points Braket, S3 and STS at another address, such as the sandbox.
    """

    vendor: ClassVar[str] = "braket"
    title: ClassVar[str] = "qflows Braket Credentials"
    logo_url: ClassVar[str] = "https://avatars.githubusercontent.com/amazon-braket?s=200"
    documentation_url: ClassVar[str] = "https://docs.aws.amazon.com/braket/"

    profile: str | None = Field(default=None, description="Profile of ~/.aws/config.")
    aws_access_key_id: SecretStr | None = Field(default=None, description="Access key id.")
    aws_secret_access_key: SecretStr | None = Field(default=None, description="Secret access key.")
    aws_session_token: SecretStr | None = Field(default=None, description="Token of temporary keys.")
    role_arn: str | None = Field(default=None, description="Role to assume with these credentials.")
    region: str | None = Field(default=None, description="Region for managed simulators; QPUs name their own.")
    endpoint_url: str | None = Field(default=None, description="Another address for Braket, S3 and STS.")
    s3_bucket: str | None = Field(default=None, description="Bucket for results; left out: the SDK's default bucket.")
    s3_prefix: str | None = Field(default=None, description="Key prefix in the bucket.")
