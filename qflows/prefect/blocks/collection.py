"""All block types of qflows and of the vendors that are installed; the `prefect.collections` entry point.

A vendor's credentials are found as subclasses of `VendorCredentials` in a module `credentials` beside the adapter that
its `qflows.providers` entry point names, so that another package adds one by adding files. Prefect imports this
wherever it looks a block up; vendor SDKs are not loaded by it.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block

from qflows.prefect.blocks.budget import BudgetBlock
from qflows.prefect.blocks.device import DeviceProfileBlock, DeviceRuleBlock
from qflows.protocol import Provider, VendorCredentials
from qflows.providers import GROUP, connect

_EXAMPLE = """

    Example:
        Load credentials:

        ```python
        from qflows.prefect.blocks.collection import {name}

        credentials = {name}.load("BLOCK_NAME")
        ```
"""


def _get_client(self: Any) -> Provider:
    """The provider these credentials give. Makes no request."""
    fields = {name: getattr(self, name) for name in type(self).model_fields if name != "timeout_s"}
    return connect(self.vendor, fields, timeout_s=getattr(self, "timeout_s", 30.0))


def _block_type(fields: type[VendorCredentials]) -> type[Block]:
    """A Prefect block type with the fields of a vendor's credentials."""
    return type(
        fields.__name__,
        (CredentialsBlock, fields),
        {
            "__module__": __name__,
            "__doc__": (fields.__doc__ or "").rstrip() + _EXAMPLE.format(name=fields.__name__),
            "_block_type_name": fields.title,
            "_block_type_slug": f"qflows-{fields.vendor}-credentials",
            "_logo_url": fields.logo_url,
            "_documentation_url": fields.documentation_url,
            "get_client": _get_client,
        },
    )


def _credentials(adapter: str) -> list[type[Block]]:
    """The credentials defined beside an adapter, as block types; none where a vendor needs none."""
    package = adapter.rpartition(".")[0]
    module = f"{package}.credentials"
    if not package or find_spec(module) is None:
        return []
    home = import_module(module)
    return [
        _block_type(found)
        for found in vars(home).values()
        if isinstance(found, type) and issubclass(found, VendorCredentials) and found.__module__ == home.__name__
    ]


_OURS: tuple[type[Block], ...] = (DeviceProfileBlock, DeviceRuleBlock, BudgetBlock)


def _find() -> dict[str, type[Block]]:
    found: dict[str, type[Block]] = {one.get_block_type_slug(): one for one in _OURS}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            blocks = _credentials(entry.module)
        except ImportError as error:  # one vendor's broken installation must not take the others' blocks away
            warnings.warn(f"the credentials block of {entry.name} cannot be imported: {error}", stacklevel=2)
            continue
        found.update({block.get_block_type_slug(): block for block in blocks})
    return found


BLOCK_TYPES: dict[str, type[Block]] = _find()
"""Block classes by the slug of their type."""

# `prefect block register -m` looks at the attributes of a module
globals().update({block.__name__: block for block in BLOCK_TYPES.values()})
