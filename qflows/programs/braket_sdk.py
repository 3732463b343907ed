"""Loading Amazon Braket's SDK, which fails by itself in IPython."""

from __future__ import annotations

import sys


def ready_to_import() -> None:
    """Call this before the SDK is imported.

    Its `braket.ipython_utils` (SDK 1.88 to 1.127) looks for `get_ipython` in the dictionary of the module `IPython`,
    which has it only once it was used (IPython 9.18): in a notebook, the import ended in a KeyError.
    """
    if (interactive := sys.modules.get("IPython")) is not None and (found := getattr(interactive, "get_ipython", None)):
        interactive.__dict__.setdefault("get_ipython", found)
