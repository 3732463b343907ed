"""What it takes to speak to IonQ."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from qflows.protocol import VendorCredentials


class IonQCredentials(VendorCredentials):
    """An API key of an IonQ project, for running circuits through qflows."""

    vendor: ClassVar[str] = "ionq"
    title: ClassVar[str] = "qflows IonQ Credentials"
    logo_url: ClassVar[str] = "https://avatars.githubusercontent.com/ionq?s=200"
    documentation_url: ClassVar[str] = "https://docs.ionq.com"

    api_key: SecretStr = Field(title="API key", description="API key, as on the keys page of the IonQ console.")
    api_url: str | None = Field(
        default=None,
        title="API address",
        description="Address of the API, ending in /v0.4; leave empty for IonQ itself.",
    )
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")
