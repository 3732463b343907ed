"""A place in Prefect for an IonQ API key. Imports no vendor code: Prefect loads it when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from qflows.protocol import Provider


class IonQCredentials(CredentialsBlock):
    """An API key of an IonQ project, for running circuits through qflows.

    Example:
        Load IonQ credentials:

        ```python
        from qflows.providers.ionq.credentials import IonQCredentials

        credentials = IonQCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows IonQ Credentials"
    _block_type_slug = "qflows-ionq-credentials"
    _logo_url = "https://avatars.githubusercontent.com/ionq?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://docs.ionq.com"  # pyright: ignore[reportAssignmentType]

    api_key: SecretStr = Field(title="API key", description="API key, as on the keys page of the IonQ console.")
    api_url: str | None = Field(
        default=None,
        title="API address",
        description="Address of the API, ending in /v0.4; leave empty for IonQ itself.",
    )
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")

    def get_client(self) -> Provider:
        """The IonQ provider. Makes no request."""
        from qflows.providers import connect

        return connect("ionq", {"api_key": self.api_key, "api_url": self.api_url}, timeout_s=self.timeout_s)
