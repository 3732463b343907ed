"""All shipped flows share one decorator, and keep what Prefect reads off a flow's own function."""

from __future__ import annotations

import inspect

from prefect import Flow
from prefect.utilities.hashing import file_hash

from qflows import flows


def test_shipped_flows_keep_their_own_form_and_version_below_the_shared_decorator() -> None:
    every = [getattr(flows, name) for name in flows.__all__ if isinstance(getattr(flows, name), Flow)]
    made = [one for one in every if "missed" in one.parameters.properties]
    assert len(made) == 7
    for one in made:
        assert one.parameters.properties["missed"]["pattern"].startswith("^(all|latest"), one.name
        assert one.version == file_hash(inspect.getsourcefile(inspect.unwrap(one.fn)) or ""), one.name
        assert not one.should_validate_parameters
