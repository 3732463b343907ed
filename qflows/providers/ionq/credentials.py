"""A place in Prefect for an IonQ API key. Imports no vendor code: Prefect loads it when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from qflows.protocol import Provider


class IonQCredentials(CredentialsBlock):
    """Credentials of an IonQ project: an API key, and the address it belongs to."""

    _block_type_name = "qflows IonQ Credentials"
    _block_type_slug = "qflows-ionq-credentials"
    _description = "API key of an IonQ project, for running circuits through qflows."

    api_key: SecretStr = Field(description="API key, as on the keys page of the IonQ console.")
    api_url: str | None = Field(
        default=None, description="Address of the API, ending in /v0.4; leave empty for IonQ itself."
    )
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for one answer.")

    def get_client(self) -> Provider:
        """The IonQ provider. Makes no request."""
        from qflows.providers import connect

        return connect("ionq", {"api_key": self.api_key, "api_url": self.api_url}, timeout_s=self.timeout_s)
