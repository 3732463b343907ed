"""Where a walk lives: a script, a notebook kernel, a flow, a flow with one walk per seed. Each is killed and started
again until it comes to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qflows.sandbox import Admin

from . import walks
from .kernel import Notebook

HERE = Path(__file__).parent
SEEDS = 3
WAIT_S = 300
Live = Callable[[int], None]
"""One life; the argument is the evaluation after which it is killed, 0 for none."""


@dataclass(frozen=True)
class Ended:
    """What became of a walk: its lives, its values, its jobs."""

    lives: int
    evaluations: int
    jobs: int


def killed(live: Live, folder: Path, names: Mapping[str, int], every: int, admin: Admin) -> Ended:
    """Lives one after the other, each killed `every` evaluations after the last. `names`: of the walks, with the jobs
    that each buys beyond its evaluations. Raises AssertionError where a trace differs from an earlier one, or the
    vendor has another number of jobs than the walks have calls.
    """
    before: dict[str, list[str]] = dict.fromkeys(names, [])
    lives, last = 0, every
    while True:
        live(last)
        lives += 1
        traces = {name: walks.trace(folder, name) for name in names}
        for name, values in traces.items():
            known = before[name]
            shared = min(len(known), len(values))
            assert values[:shared] == known[:shared], (name, lives, known, values)
            before[name] = max(known, values, key=len)
        if sum(map(len, traces.values())) < last or last == 0:
            break
        last += every
    live(0)  # once more: a finished walk finds everything again
    again = {name: walks.trace(folder, name) for name in names}
    assert again == before, (again, before)
    evaluations = sum(map(len, again.values()))
    bought = admin.count_jobs("ionq")
    assert bought == evaluations + sum(names.values()), (bought, evaluations)
    return Ended(lives, evaluations, bought)


def script(kind: str, folder: Path, env: Mapping[str, str]) -> Live:
    """A plain Python process."""
    return lambda last: _child([str(HERE / "walks.py"), kind, "loop", str(folder)], env, last)


def notebook(kind: str, folder: Path, env: Mapping[str, str]) -> Live:
    """A cell of a kernel; the kernel is killed, and started again as the notebook's menu does it."""
    code = f"""
import os, sys; sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
import walks
os.environ["WALKS_LAST"] = "LAST"; walks._noted = 0
walks.walk({kind!r}, walks.noting(Path({str(folder)!r}), {kind!r}), "loop")
"""
    made: list[Notebook] = []

    def live(last: int) -> None:
        if not made:
            made.append(Notebook(dict(env), folder))
        kernel = made[0]
        if not kernel.is_alive:
            kernel.restart(now=True)
        cell = kernel.send(code.replace("LAST", str(last)))
        answer = kernel.answer_or_death(cell, WAIT_S)
        assert answer is None or answer["status"] == "ok", answer
        if not last:
            made.pop().close()

    return live


def flow(kind: str, folder: Path, env: Mapping[str, str]) -> Live:
    """One flow run, executed again after every crash as the reconciler asks for it."""
    return _flow_run("one-walk", env, kind=kind, folder=str(folder))


def seeds(kind: str, folder: Path, env: Mapping[str, str]) -> Live:
    """A flow run that maps a task over seeds; all die together."""
    return _flow_run("walks-of-seeds", env, kind=kind, folder=str(folder), seeds=SEEDS)


def _flow_run(name: str, env: Mapping[str, str], **parameters: Any) -> Live:
    sys.path.insert(0, str(HERE))
    import walk_flows

    made: list[Any] = []
    finished = False

    def live(last: int) -> None:
        nonlocal finished
        if not made:
            made.append(walk_flows.new_run(name, **parameters))
        elif not finished:
            walk_flows.crashed(made[0])
        else:  # a completed run is not executed again
            return
        finished = _child([str(HERE / "walk_flows.py"), str(made[0])], env, last)

    return live


def _child(command: list[str], env: Mapping[str, str], last: int) -> bool:
    """Whether it came to its end; False after its own SIGKILL."""
    found = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **env, "WALKS_LAST": str(last)},
        capture_output=True,
        timeout=WAIT_S,
    )
    assert found.returncode in (0, -signal.SIGKILL), found.stderr.decode()[-3000:]
    assert last or not found.returncode, found.stderr.decode()[-3000:]
    return not found.returncode


COMPANY: dict[str, Callable[[str, Path, Mapping[str, str]], Live]] = {
    "script": script,
    "notebook": notebook,
    "flow": flow,
    "seeds": seeds,
}


def names_of(company: str, kind: str) -> dict[str, int]:
    """The walks of a company, with the jobs that each buys beyond its evaluations."""
    extra = walks.EXTRA.get(kind, 0)
    return {f"{kind}-{seed}": extra for seed in range(SEEDS)} if company == "seeds" else {kind: extra}
