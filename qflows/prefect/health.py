"""Whether the Prefect API that is configured can be used: reached, allowed in, and of a version that fits."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from prefect import __version__ as ours
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from qflows.protocol import Finding, Verdict

_TIMEOUT_S = 10.0


def examine() -> Iterator[Finding]:
    """Findings on the configured API; three requests, none of which changes anything."""
    url = PREFECT_API_URL.value()
    if not url:
        yield Finding("API", Verdict.WRONG, "none is configured", "set PREFECT_API_URL, or start `qflows up`")
        return
    with get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT_S}) as client:
        problem = client.api_healthcheck()
        if problem is not None:
            remedy = "start it (`qflows up`, `prefect server start`), or correct PREFECT_API_URL"
            yield Finding("API", Verdict.WRONG, f"{url} does not answer: {str(problem)[:200]}", remedy)
            return
        yield Finding("API", Verdict.OK, url)
        try:
            theirs = client.api_version()
            client.read_flows(limit=1)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            remedy = (
                "set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY in the cloud) to the server's value"
                if status in (401, 403)
                else "check the server's log"
            )
            yield Finding("rights", Verdict.WRONG, f"the API answers {status}", remedy)
            return
        except (httpx.HTTPError, ValueError) as error:
            yield Finding(
                "rights", Verdict.WRONG, f"no usable answer: {type(error).__name__}", "check the server's log"
            )
            return
        yield Finding("rights", Verdict.OK, "flows can be read")
    if theirs.split(".")[:2] == ours.split(".")[:2]:
        yield Finding("version", Verdict.OK, f"server {theirs}, client {ours}")
    else:
        remedy = "use one minor version on both sides; the server first"
        yield Finding("version", Verdict.ADVICE, f"server {theirs}, client {ours}", remedy)
