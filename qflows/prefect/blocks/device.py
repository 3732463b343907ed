"""Device profiles as Prefect blocks: the type, and the look-up of a saved one by a device's name."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from pydantic import Field, ValidationError

from qflows.core.profiles import DeviceFields, DeviceProfile
from qflows.errors import DocumentError, NotSent
from qflows.prefect.impatient import impatient_client

BLOCK_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # what Prefect accepts as the name of a block document
# a server that hangs must not hold every first use of a device for Prefect's own six minutes
_LOOK_UP_S = 5.0
# inside a run, so long altogether: the server may be restarting, or moving to another host
_RESTART_S, _PAUSE_S = 120.0, 2.0


# both are pydantic models; Prefect narrows three signatures of the base class
class DeviceProfileBlock(Block, DeviceFields):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A device that circuits can be sent to: vendor, limits, defaults, price, and the credentials to use.

    Flows pass the name of the block as `device=`. It takes precedence over a profile of the same name that ships with
    qflows.

    Example:
        Load a device profile:

        ```python
        from qflows.prefect.blocks.device import DeviceProfileBlock

        device = DeviceProfileBlock.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows Device Profile"
    _block_type_slug = "qflows-device-profile"
    _logo_url = "https://avatars.githubusercontent.com/PrefectHQ?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # pyright: ignore[reportAssignmentType]


class DeviceRuleBlock(Block):
    """A rule that chooses a device. Flows pass the name of the block as `device=`.

    Example:
        Load a rule:

        ```python
        from qflows.prefect.blocks.device import DeviceRuleBlock

        rule = DeviceRuleBlock.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows Device Rule"
    _block_type_slug = "qflows-device-rule"
    _logo_url = "https://avatars.githubusercontent.com/PrefectHQ?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # pyright: ignore[reportAssignmentType]

    description: str = Field(default="", description="One line, shown in listings.")
    rule: str = Field(max_length=1000, description="Such as cheapest(ibm-*, ionq-*; qubits>=20, queue<2h).")


def _saved(name: str, kind: type[Block]) -> dict[str, Any] | None:
    """The fields of a saved block of this kind."""
    url = PREFECT_API_URL.value()
    if not url or not BLOCK_NAME.fullmatch(name):
        return None
    # a run outlives a restart of the server that it belongs to; a command wants an answer now
    give_up_at = time.monotonic() + (_RESTART_S if FlowRunContext.get() or TaskRunContext.get() else 0.0)
    while True:
        try:
            with impatient_client(_LOOK_UP_S) as api:
                document = api.read_block_document_by_name(name, kind.get_block_type_slug(), include_secrets=False)
            return document.data
        except ObjectNotFound:
            return None
        except (httpx.HTTPError, RuntimeError, ValueError) as error:
            # RuntimeError: what Prefect makes of some of these; ValueError: an answer that is not Prefect's
            if time.monotonic() < give_up_at and _may_pass(error):
                time.sleep(_PAUSE_S)
                continue
            raise NotSent(
                f"the Prefect API at {url} did not say whether a device {name!r} is saved there "
                f"({type(error).__name__}); nothing was sent. Start it, or unset PREFECT_API_URL "
                "to use the devices that ship with qflows",
                provider="prefect",
            ) from None


def _may_pass(error: Exception) -> bool:
    """Whether the server may answer in a moment: nobody answered, or it failed by itself."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return not isinstance(error, ValueError)


def saved_rule(name: str) -> str | None:
    """The rule saved in Prefect under this name; None if there is none. Raises as `saved_profile`."""
    found = _saved(name, DeviceRuleBlock)
    return None if found is None else str(found.get("rule", ""))


def saved_profile(name: str) -> DeviceProfile | None:
    """The profile saved in Prefect under this name; None if there is none, or no API is configured.

    One request; inside a run it is repeated for two minutes while nobody answers. Raises NotSent then, because the
    shipped profile of that name may mean another device or account; DocumentError for a saved document that is no
    profile.
    """
    found = _saved(name, DeviceProfileBlock)
    if found is None:
        return None
    try:
        return DeviceProfile.model_validate({**found, "name": name})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    raise DocumentError(
        f"block {DeviceProfileBlock.get_block_type_slug()}/{name}, key {'.'.join(map(str, first['loc']))!r}: "
        f"{first['msg']}; correct it in the UI or with `qflows apply`"
    )
