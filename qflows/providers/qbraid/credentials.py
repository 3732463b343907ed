"""A place in Prefect for a qBraid API key. Imports no vendor code: Prefect loads it when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from qflows.protocol import Provider


class QbraidCredentials(CredentialsBlock):
    """An API key of a qBraid account, or an access token, which is used instead of the key.

    Example:
        Load qBraid credentials:

        ```python
        from qflows.providers.qbraid.credentials import QbraidCredentials

        credentials = QbraidCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows qBraid Credentials"
    _block_type_slug = "qflows-qbraid-credentials"
    _logo_url = "https://avatars.githubusercontent.com/qBraid?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://docs.qbraid.com"  # pyright: ignore[reportAssignmentType]

    api_key: SecretStr | None = Field(default=None, title="API key", description="API key, as on the account page.")
    access_token: SecretStr | None = Field(default=None, description="Access token; used instead of the key.")
    api_url: str | None = Field(
        default=None,
        title="API address",
        description="Address of the API, with /api/v1; leave empty for qBraid itself.",
    )
    timeout_s: float = Field(default=30.0, gt=0, title="Timeout (s)", description="Seconds to wait for one answer.")

    def get_client(self) -> Provider:
        """The qBraid provider. Makes no request. Raises CredentialsMissing without key and token."""
        from qflows.providers import connect

        given = {"api_key": self.api_key, "access_token": self.access_token, "api_url": self.api_url}
        return connect("qbraid", given, timeout_s=self.timeout_s)
