"""Settings from the environment; the core takes values as arguments and never reads this by itself."""

from __future__ import annotations

import difflib
import os
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from qflows.errors import LedgerUnavailable, SettingsInvalid
from qflows.privacy.files import private_folder


class Settings(BaseSettings):
    """Everything that can be set through `QFLOWS_*` variables.

    `home` holds the SQLite ledger when no `ledger_url` is given. `lease_s` must stay well above `http_timeout_s`:
    a claim that runs out while its request is still in flight would be looked up too early.
    """

    model_config = SettingsConfigDict(env_prefix="QFLOWS_", extra="ignore")

    home: Path = Field(default_factory=lambda: Path.home() / ".qflows")
    ledger_url: str | None = None
    sandbox_ledger_url: str | None = Field(
        default=None, description="the ledger of what emulators answer; default: a SQLite file beside their state"
    )
    archive: Path | None = Field(
        default=None, description="where archived jobs are written and read; default: `archive` in the home"
    )
    namespace: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="put before every run key, so that people who share a ledger do not meet under one",
    )
    lease_s: float = Field(default=120.0, gt=0)
    http_timeout_s: float = Field(default=30.0, gt=0)
    settle_s: float | None = Field(default=None, ge=0, description="overrides each vendor's own settle time")
    currency: str = Field(default="usd", pattern=r"^[a-z_]{1,16}$", description="the currency that prices are shown in")
    rates: dict[str, Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description='what one of another unit is worth in the currency, e.g. {"credits": "0.01", "qpu_s": "1.60"}',
    )
    project: str | None = Field(default=None, max_length=128, description="what purchases are counted under")
    user: str | None = Field(default=None, max_length=128, description="who buys; default: the name of the login")
    posts_at_once: int | None = Field(
        default=None, ge=1, description="submissions under way at once; default: what each vendor's quotas allow"
    )
    vendor_groups: bool = Field(
        default=True, description="mirror a group at the vendor that keeps groups (qBraid), when all members are its"
    )
    poll_min_s: float | None = Field(default=None, gt=0, description="overrides each vendor's fastest poll")

    def __init__(self, **values: Any) -> None:
        """Raises SettingsInvalid naming the variable that cannot be used, or that is misspelled."""
        _check_spelling()
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = str(first["loc"][0]) if first["loc"] else ""
            # an address may hold a password
            given = f"={str(first['input'])!r:.60}" if field and not field.endswith("_url") else ""
            name = f"QFLOWS_{field.upper()}{given}: " if field else ""
            reason = first["msg"].removeprefix("Value error, ")
            raise SettingsInvalid(f"{name}{reason}{_meaning(field)}; correct it or unset it") from None
        except SettingsError as error:
            field = next((one for one in type(self).model_fields if f'"{one}"' in str(error)), "")
            raise SettingsInvalid(
                f"QFLOWS_{field.upper()} is not JSON{_meaning(field)}; correct it or unset it"
            ) from None

    @model_validator(mode="after")
    def _lease_outlives_a_request(self) -> Settings:
        if self.lease_s < 2 * self.http_timeout_s:
            raise ValueError(
                f"QFLOWS_LEASE_S ({self.lease_s:g}) must be at least twice QFLOWS_HTTP_TIMEOUT_S "
                f"({self.http_timeout_s:g}): a claim must not run out while its request is under way"
            )
        return self

    def make_home(self) -> Path:
        """The home as an absolute path, created for this user alone or closed to others. Raises LedgerUnavailable."""
        home = self.home.expanduser().absolute()
        try:
            return private_folder(home)
        except OSError as error:
            raise LedgerUnavailable(
                f"QFLOWS_HOME={home} cannot be created ({error.strerror}); set QFLOWS_HOME to a folder that you may "
                "write"
            ) from error

    def archive_folder(self) -> Path:
        """The folder of archive files, whether it exists or not."""
        return (self.archive or self.home / "archive").expanduser().absolute()

    def resolved_ledger_url(self) -> str:
        """The ledger's SQLAlchemy URL: as given, or a SQLite file in `home`."""
        return self.ledger_url or f"sqlite:///{self.home / 'ledger.db'}"

    def resolved_sandbox_ledger_url(self, state_dir: Path | None = None) -> str:
        """Like `resolved_ledger_url`, but for emulated vendors, whose answers must never be mixed with paid results.

        `state_dir`: the folder of the emulators' state, by default `sandbox` in the home.
        """
        folder = (state_dir or self.home / "sandbox").expanduser().absolute()
        return self.sandbox_ledger_url or f"sqlite:///{folder / 'ledger.db'}"


def current_settings() -> Settings:
    """The settings of the environment as it is now. Reading them takes longer than a commit, so the last ones are kept
    with the variables that they came from."""
    said = ((name, value) for name, value in os.environ.items() if name.upper().startswith("QFLOWS_"))
    return _settings_of(tuple(sorted(said)), os.environ.get("HOME"))


@lru_cache(maxsize=8)
def _settings_of(said: tuple[tuple[str, str], ...], home: str | None) -> Settings:
    return Settings()


_EXAMPLES = {"rates": """QFLOWS_RATES='{"credits": "0.01"}'""", "currency": "QFLOWS_CURRENCY=eur"}


def _meaning(field: str) -> str:
    described = Settings.model_fields[field].description if field in Settings.model_fields else None
    example = f", for example {_EXAMPLES[field]}" if field in _EXAMPLES else ""
    return f" ({described}{example})" if described else example


def _check_spelling() -> None:
    """Raise SettingsInvalid for a variable that is nearly one of ours: ignored, it would mean another ledger."""
    known = [f"QFLOWS_{name.upper()}" for name in Settings.model_fields]
    for name in os.environ:
        is_strange = name.startswith("QFLOWS_") and name not in known
        if is_strange and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.9)):
            raise SettingsInvalid(f"{name} is not a setting; did you mean {near[0]}? Set that one, and unset {name}")
