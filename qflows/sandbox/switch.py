"""Named choices: what a vendor's documents leave open, and what a user may want to rehearse.

Nothing here knows a vendor, a call or the world, so that all of them can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SwitchValue = str | int | float | bool


@dataclass(frozen=True)
class Switch:
    """One choice. `choices` is empty for a number, a text or a flag of the default's type.

    `source`: where the default comes from, or what is known and what is not. `qflows sandbox switches` prints it.
    """

    name: str
    default: SwitchValue
    note: str
    choices: tuple[SwitchValue, ...] = ()
    source: str = ""

    def check(self, value: Any) -> SwitchValue:
        """The value if it is allowed. Raises ValueError listing the allowed ones."""
        if self.choices:
            if value not in self.choices or isinstance(value, bool) != isinstance(self.default, bool):
                raise ValueError(f"{self.name} is one of {', '.join(map(repr, self.choices))}, not {value!r}")
            return value
        if isinstance(self.default, bool) != isinstance(value, bool):
            raise ValueError(f"{self.name} is of type {type(self.default).__name__}, not {value!r}")
        allowed = (int, float) if isinstance(self.default, float) else (type(self.default),)
        if not isinstance(value, allowed):
            raise ValueError(f"{self.name} is of type {type(self.default).__name__}, not {value!r}")
        return value


def numbers_of(text: Any) -> dict[str, float]:
    """`a=1,b=2.5` as numbers by name. Raises ValueError."""
    pairs = [part.partition("=") for part in str(text).split(",") if part]
    return {name: float(number) for name, _, number in pairs}


RETRY_AFTER_FORMS = ("seconds", "date", "milliseconds", "fraction", "huge", "infinite", "nan", "negative", "absent")

# Of every vendor; `qflows/sandbox/server.py` plays them around the vendor's own handler.
COMMON = (
    Switch(
        "retry_after_form", "seconds", "how a refusal writes Retry-After", RETRY_AFTER_FORMS,
        "RFC 9110 10.2.3 allows seconds and an HTTP date; qbraid-core 0.6.37 reads values above 60 as milliseconds",
    ),
    Switch(
        "clock_skew_s", 0.0, "seconds by which the Date header is ahead of this machine's clock",
        source="rehearsal: clocks of users' machines are minutes off",
    ),
    Switch(
        "body_bytes_per_s", 0.0, "pace at which bodies of answers arrive; 0: at once",
        source="rehearsal: a congested or hostile connection",
    ),
    Switch(
        "body_padding", 0, "white space added to the body of every answer, bytes",
        source="rehearsal: a body that is too large to be read whole",
    ),
    Switch(
        "bill_factor", 1.0, "what is charged in the end, as a multiple of the tariff; quotes stay as they are",
        source="rehearsal: IBM charged 0.4 to 2.5 times of what a formula said, 2026-09",
    ),
    Switch(
        "denied_routes", "", "routes answered 403, comma-separated, as in the journal without the vendor's name",
        source="rehearsal: a key without the right to do this",
    ),
)  # fmt: skip
