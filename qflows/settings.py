"""Settings from the environment; the core takes values as arguments and never reads this by itself."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that can be set by `QFLOWS_*` variables.

    `home` holds the SQLite ledger when no `ledger_url` is given. `lease_s` must stay well above `http_timeout_s`:
    a claim that runs out while its request is still in flight would be looked up too early.
    """

    model_config = SettingsConfigDict(env_prefix="QFLOWS_", extra="ignore")

    home: Path = Field(default_factory=lambda: Path.home() / ".qflows")
    ledger_url: str | None = None
    lease_s: float = Field(default=120.0, gt=0)
    http_timeout_s: float = Field(default=30.0, gt=0)
    settle_s: float | None = Field(default=None, ge=0, description="overrides each vendor's own settle time")
    poll_min_s: float | None = Field(default=None, gt=0, description="overrides each vendor's fastest poll")

    def resolved_ledger_url(self) -> str:
        """The ledger's SQLAlchemy URL: as given, else a SQLite file in `home`."""
        return self.ledger_url or f"sqlite:///{self.home / 'ledger.db'}"
