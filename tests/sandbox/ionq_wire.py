"""What tests of IonQ's emulator send and check, by plain HTTP."""

from __future__ import annotations

import httpx


def submit(client: httpx.Client, body: dict) -> str:
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def job(client: httpx.Client, job_id: str) -> dict:
    return client.get(f"/jobs/{job_id}").json()


def refused(answer: httpx.Response, status: int = 400, *keys: str) -> str:
    """The message of a refusal in the documented shape."""
    body = answer.json()
    assert (answer.status_code, body["statusCode"]) == (status, status), answer.text
    assert isinstance(body["error"], str)
    if keys:
        assert body["validation"] == {"source": "body", "keys": list(keys)}
    return body["message"]
