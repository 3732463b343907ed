"""What a vendor calls a job must be something that it can be found under again."""

from __future__ import annotations

import pytest

from qflows.errors import Ambiguous
from qflows.protocol import Accepted


@pytest.mark.parametrize("vendor_id", ["", "x" * 256, "a\x1b[2J", "a\nb", "\u202eid", "d\u00e9ja"], ids=ascii)
def test_impossible_id_leaves_a_doubt(vendor_id: str) -> None:
    with pytest.raises(Ambiguous) as caught:
        Accepted(vendor_id)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "vendor_id", ["9f2c", "arn:aws:braket:us-east-1:000000000000:quantum-task/5b4c", "qbraid:qbraid:sim:qir-sv-a1b2"]
)
def test_usual_ids_are_accepted(vendor_id: str) -> None:
    assert Accepted(vendor_id).vendor_id == vendor_id
