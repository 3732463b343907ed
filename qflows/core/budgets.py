"""Budgets as documents: read from a file in `blocks/budgets/` or a Prefect block, checked, and put in force."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from qflows.core import documents
from qflows.core.documents import Document
from qflows.core.durations import seconds
from qflows.errors import ProgramRejected
from qflows.ledger.budgets import Budget, micro


def _written(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value  # 0.1 as written, not as a binary fraction


Money = Annotated[Decimal, BeforeValidator(_written)]


class BudgetFields(BaseModel):
    """What a budget says, whatever name it goes by."""

    description: str = Field(default="", description="One line for listings.")
    amount: Annotated[Money, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)] = Field(
        description="The limit, in the currency."
    )
    currency: str = Field(
        default="usd", pattern=r"^[a-z_]{1,16}$", description="usd, eur, or a vendor's own unit: credits, qpu_s."
    )
    scope: Literal["all", "project", "user", "deployment", "vendor", "device", "run"] = Field(
        default="all", description="What purchases are grouped by."
    )
    of: str | None = Field(
        default=None,
        max_length=200,
        description="A name of the scope, or a pattern such as ibm-*; all matches are counted together. "
        "Empty: each is counted separately.",
    )
    period: Literal["run", "day", "week", "month", "total"] = Field(
        default="month", description="When the count restarts, in UTC; run: one count per run key."
    )
    policy: Literal["refuse", "wait", "ask"] = Field(
        default="refuse", description="What to do with a purchase that does not fit; ask: a person decides in the UI."
    )
    warn: float = Field(default=0.8, gt=0, le=1, description="Share of the amount at which to warn.")
    tolerance: float = Field(
        default=0.5, ge=0, description="Share by which a bill may differ from the expected cost without a warning."
    )
    allow_unknown: bool = Field(
        default=False, description="Allow purchases without a known upper bound; they count at their expected cost."
    )
    reserve: Literal["bound", "expected"] = Field(
        default="bound", description="Reserve the most that a purchase can cost, or its expected cost."
    )
    ask_timeout: str = Field(default="1h", description="How long to wait for an approval; after that it is denied.")
    rates: dict[str, Annotated[Money, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="What one unit of a vendor is worth in the currency, such as qpu_s: 1.60."
    )


class BudgetDocument(BudgetFields):
    """A budget by name."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["budget"] = "budget"
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)


def read(path: Path) -> BudgetDocument:
    """A budget from a YAML document. Raises DocumentError naming file, line and key."""
    return from_document(documents.load(path))


def from_document(document: Document) -> BudgetDocument:
    """A budget. Raises DocumentError naming file, line and key of the first mistake."""
    try:
        made = BudgetDocument.model_validate(dict(document.body))
        seconds(made.ask_timeout)
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)
    except ProgramRejected as error:
        raise document.error(["ask_timeout"], str(error)) from None
    else:
        return made
    raise documents.invalid(document, said, lambda place: BudgetDocument.model_fields)


def rule(name: str, fields: BudgetFields, rates: Mapping[str, Decimal] | None = None) -> Budget:
    """The budget as the ledger stores it. `rates`: those of the settings, for units that it does not name itself."""
    given: dict[str, Any] = {key: getattr(fields, key) for key in BudgetFields.model_fields}
    wait_s = seconds(given.pop("ask_timeout"))
    known: dict[str, Decimal] = {**(rates or {}), **given.pop("rates")}
    return Budget(
        name=name,
        amount=micro(given.pop("amount")),
        ask_timeout_s=float(wait_s or 0.0),
        rates={unit.lower(): f"{worth:f}" for unit, worth in sorted(known.items())},
        **given,
    )
