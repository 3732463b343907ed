"""Lines of code of every example of the five sources, with their clients and with qflows.

`python tests/sources/table.py`. In each module, `theirs_NAME` does what the source's page shows with the vendor's own
client, and `ours_NAME` does the same; the tests run both and compare what they return. Counted are the lines of the two
bodies and of the imports that each needs (for ours: one), in one style, without comments and docstrings.
"""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent


def pairs(module: Path) -> dict[str, tuple[int, int]]:
    """Lines of theirs and of ours by example."""
    found = {
        node.name: _lines(node) for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)
    }
    names = [name.removeprefix("theirs_") for name in found if name.startswith("theirs_")]
    return {name: (found[f"theirs_{name}"], found[f"ours_{name}"] + 1) for name in names}


def _lines(function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return sum(len(ast.unparse(node).splitlines()) for node in body)


def source(module: Path) -> str:
    """The page that a module follows: the first line of its docstring."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").splitlines()[0]


def main() -> None:
    """Print one row per example, and the sums."""
    theirs_all = ours_all = 0
    for module in sorted(HERE.glob("test_*.py")):
        print(source(module))
        for name, (theirs, ours) in pairs(module).items():
            print(f"  {name.replace('_', ' '):<48} theirs {theirs:>3}   ours {ours:>3}")
            theirs_all, ours_all = theirs_all + theirs, ours_all + ours
    print(f"{'all':<50} theirs {theirs_all:>3}   ours {ours_all:>3}")


if __name__ == "__main__":
    main()
