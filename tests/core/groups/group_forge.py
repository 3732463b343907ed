"""Makes processes quickly: imports qflows once, then forks one for each line on its standard input.

Order (JSON): `script`, `arguments`, `env`, `out` and `err` files. Answer: the return code as `subprocess` would say it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import uuid

import group_desk

import qflows
import qflows.core.client
import qflows.core.groups.handle
import qflows.providers.ionq.adapter
import qflows.providers.local.adapter
import qflows.providers.qbraid.adapter
from qflows.programs import to_program


def work(order: dict) -> None:
    """What the forked process does; leaves as an interpreter would."""
    os.environ.clear()
    os.environ.update(order["env"])
    # a fork is another process of the run: scripts started anew have an attempt of their own
    qflows.core.scope._PROCESS_ATTEMPT = uuid.uuid4().hex
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    sys.argv = ["script", *order["arguments"]]
    known = {"qflows": qflows, "os": os, "signal": signal, "sys": sys} | vars(group_desk)
    code = 0
    try:
        exec(compile(order["script"], "<script>", "exec"), known | {"__name__": "__main__"})  # noqa: S102
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """One fork a line."""
    to_program(group_desk.BELL, None, None)  # loads what reads programs
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            work(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
