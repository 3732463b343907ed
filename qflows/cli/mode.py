"""Whether a command runs as a Prefect flow run, or straight on the core."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path


def prefect_api() -> str | None:
    """The Prefect API that is configured, by environment or active profile; read without importing Prefect.

    Without one, Prefect would start a throw-away server, which takes 12 to 20 s a command.
    """
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"]
    home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = os.environ.get("PREFECT_PROFILE", profiles.get("active", ""))
    settings = profiles.get("profiles", {}).get(active, {})
    url = settings.get("PREFECT_API_URL")
    return url if isinstance(url, str) and url else None


def as_flow(flow: bool | None) -> bool:
    """`--flow/--no-flow` as given, else: a flow run exactly when an API is configured."""
    return prefect_api() is not None if flow is None else flow


NO_API_HINT = (
    "ran without Prefect; the ledger has the record (`qflows jobs ls`). To see runs in a UI: "
    "`prefect server start`, then set PREFECT_API_URL=http://127.0.0.1:4200/api and run again"
)
