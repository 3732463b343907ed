"""What it takes to speak to qBraid."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from qflows.protocol import VendorCredentials


class QbraidCredentials(VendorCredentials):
    """An API key of a qBraid account, or an access token, which is used instead of the key."""

    vendor: ClassVar[str] = "qbraid"
    title: ClassVar[str] = "qflows qBraid Credentials"
    logo_url: ClassVar[str] = "https://avatars.githubusercontent.com/qBraid?s=200"
    documentation_url: ClassVar[str] = "https://docs.qbraid.com"

    api_key: SecretStr | None = Field(default=None, title="API key", description="API key, as on the account page.")
    access_token: SecretStr | None = Field(default=None, description="Access token; used instead of the key.")
    api_url: str | None = Field(
        default=None,
        title="API address",
        description="Address of the API, with /api/v1; leave empty for qBraid itself.",
    )
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")
