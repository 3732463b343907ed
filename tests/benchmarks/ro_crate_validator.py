"""The official validator of RO-Crates without the network: run in an environment that has roc-validator and rocrate.

It reads the JSON-LD context of RO-Crate 1.1 from the web at every run. The same document is in the package rocrate
0.13.0 and is given instead; all else is the validator's own. Arguments are those of `rocrate-validator`.
"""

from __future__ import annotations

import email.message
import importlib.util
import io
import urllib.request
import urllib.response
from pathlib import Path
from typing import Any

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def context() -> bytes:
    """The official document."""
    found = importlib.util.find_spec("rocrate")
    assert found is not None
    assert found.origin is not None
    text = Path(found.origin).with_name("data").joinpath("ro-crate.jsonld").read_bytes()
    assert CONTEXT.encode() in text, "another version of the context"
    return text


class Kept(urllib.request.BaseHandler):
    """Answers for the context where rdflib asks for it."""

    handler_order = 100

    def https_open(self, request: urllib.request.Request) -> Any:
        if request.full_url != CONTEXT:
            return None
        head = email.message.Message()
        head["Content-Type"] = "application/ld+json"
        answer = urllib.response.addinfourl(io.BytesIO(context()), head, CONTEXT, 200)
        answer.msg = "OK"  # pyright: ignore[reportAttributeAccessIssue]
        return answer


def main() -> None:
    """Runs the validator."""
    import requests
    import requests.adapters

    ask = requests.adapters.HTTPAdapter.send

    def send(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        if request.url != CONTEXT:
            return ask(self, request, *arguments, **named)
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, CONTEXT, request
        answer.headers["Content-Type"] = "application/ld+json"
        answer.raw = io.BytesIO(context())
        return answer

    requests.adapters.HTTPAdapter.send = send
    urllib.request.install_opener(urllib.request.build_opener(Kept))
    from rocrate_validator.cli import cli  # pyright: ignore[reportMissingImports]

    cli()


if __name__ == "__main__":
    main()
