"""Budgets as Prefect blocks. What counts is what the ledger has; `qflows apply` saves the block and puts it there."""

from __future__ import annotations

from prefect.blocks.core import Block

from qflows.core.budgets import BudgetFields


# both are pydantic models; Prefect narrows three signatures of the base class
class BudgetBlock(Block, BudgetFields):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A limit on spending across all vendors: whose purchases count, for how long, and what happens when it is reached.

    It takes effect once `qflows apply` or `qflows budgets apply` has put it into the ledger.

    Example:
        Load a budget:

        ```python
        from qflows.prefect.blocks.budget import BudgetBlock

        budget = BudgetBlock.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "qflows Budget"
    _block_type_slug = "qflows-budget"
    _logo_url = "https://avatars.githubusercontent.com/PrefectHQ?s=200"  # pyright: ignore[reportAssignmentType]
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # pyright: ignore[reportAssignmentType]
