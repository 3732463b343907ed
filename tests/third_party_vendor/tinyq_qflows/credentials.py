"""What it takes to speak to TinyQ."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from qflows.protocol import VendorCredentials


class TinyQCredentials(VendorCredentials):
    """A TinyQ API key."""

    vendor: ClassVar[str] = "tinyq"
    title: ClassVar[str] = "TinyQ Credentials"
    logo_url: ClassVar[str] = "https://tinyq.example/logo.png"
    documentation_url: ClassVar[str] = "https://tinyq.example/docs"

    key: SecretStr = Field(title="API key", description="API key, as on the page of the account.")
    url: str | None = Field(default=None, title="API address", description="Empty for TinyQ itself.")
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")
