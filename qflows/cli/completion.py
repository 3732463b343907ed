"""What the shell offers for a device or an id: shipped profiles, and what the ledger has.

Nothing is sent and no ledger is made. A ledger that cannot be read offers nothing: a shell has no place for errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import make_url

from qflows.errors import QflowsError
from qflows.settings import Settings

Offer = tuple[str, str]
_SHORT = 12
_MOST = 200


def devices(incomplete: str) -> list[Offer]:
    """Names of devices that ship, with a word about each."""
    from qflows.core.profiles import shipped

    return [
        (name, _said(one.description))
        for name, one in sorted(shipped().items())
        if one.retired is None and name.startswith(incomplete)
    ]


def _said(text: str) -> str:
    """As the text of an offer: zsh drops apostrophes of what it is given to evaluate."""
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")


def _of_the_ledger(find: Callable[[], Iterator[Offer]]) -> Callable[[str], list[Offer]]:
    def offer(incomplete: str) -> list[Offer]:
        try:
            if not _has_ledger():
                return []
            return [(key, _said(text)) for key, text in find() if key.startswith(incomplete)]
        except QflowsError:
            return []

    return offer


def _has_ledger() -> bool:
    url = make_url(Settings().resolved_ledger_url())
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


@_of_the_ledger
def jobs() -> Iterator[Offer]:
    """Jobs of the ledger, newest first: the beginning of the key, with name, device and status."""
    from qflows.cli.connection import default_client

    for one in default_client().jobs(limit=_MOST):
        yield one.key[:_SHORT], f"{one.name or 'job'} on {one.device}, {one.status.value}"


@_of_the_ledger
def batches() -> Iterator[Offer]:
    """Batches of the ledger, newest first."""
    from qflows.cli.connection import default_client

    for one in default_client().batches(limit=_MOST):
        yield one.record.id[:_SHORT], f"{one.record.name or 'batch'} on {one.record.device}"


@_of_the_ledger
def groups() -> Iterator[Offer]:
    """Groups of the ledger, newest first."""
    from qflows.cli.connection import default_client

    for one in default_client().groups(limit=_MOST):
        if one.id:
            yield one.id[:_SHORT], one.name


@_of_the_ledger
def sessions() -> Iterator[Offer]:
    """Sessions of the ledger, newest first."""
    from qflows.cli.connection import default_client

    for one in default_client().sessions(limit=_MOST):
        yield one.key[:_SHORT], f"{one.name or 'session'} on {one.device}, {one.state.value}"
