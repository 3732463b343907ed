"""Whether buying again may help after a job failed: yes, no, or unknown.

qBraid gives no failure codes, only a text from the device's vendor or from its own services. A text not in the table is
unknown: a lost calibration and a bad circuit look alike.
"""

from __future__ import annotations

import re

# pattern, answer, source
TABLE: tuple[tuple[re.Pattern[str], bool, str], ...] = (
    (
        re.compile(r"conversion failed|400 Client Error", re.IGNORECASE),
        False,
        "recorded 2026-09-28 (monid-ai/monid): a program that does not compile fails its job with such a text",
    ),
)


def is_worth_buying_again(message: str | None) -> bool | None:
    """What the table says of a failure's text; None: unknown."""
    for pattern, answer, _ in TABLE:
        if message and pattern.search(message):
            return answer
    return None
