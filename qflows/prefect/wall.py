"""The wall as one artifact of the Prefect server, kept fresh in its place instead of growing a version a minute."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from qflows.ledger.store import Ledger
from qflows.pages import wall

KEY = "qflows-wall"
EVERY_S = 60.0


def show(api: SyncPrefectClient, ledger: Ledger) -> str:
    """Writes the page as it is now into the newest artifact of its key, or makes the first one; returns the page."""
    text = wall.compose(ledger)
    found = api.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[KEY])), sort=ArtifactSort.CREATED_DESC, limit=1
    )
    if found:
        api.update_artifact(found[0].id, ArtifactUpdate(data=text, description=wall.TITLE))
    else:
        api.create_artifact(ArtifactCreate(key=KEY, type="markdown", description=wall.TITLE, data=text))
    return text
