"""One worked example, or a few, for the help of every command; a test holds each command to having one."""

from __future__ import annotations

import typer

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "qflows run bell.qasm --device local-aer --shots 1000",
        "qflows run a.qasm b.qasm --device ionq-simulator --option noise_model=aria-1 --run-key monday --json",
    ),
    "vqe": (
        "qflows vqe h2-0.735 --plot h2.png",
        "qflows vqe tfim-4 --device ionq-simulator --shots 500 --max-evaluations 60 --run-key ising",
    ),
    "benchmark": ("qflows benchmark --device local-noisy --device ionq-simulator --shots 500 --plot devices.png",),
    "report": ("qflows report", "qflows report --since 7d --out reports"),
    "devices": ("qflows devices", "qflows devices --live ionq"),
    "apply": ("qflows apply blocks/ --dry-run", "IONQ_API_KEY=... qflows apply blocks/credentials/ionq.yaml"),
    "demo": ("qflows demo --folder demo-output",),
    "sweep": ("qflows sweep", "qflows sweep --every 5"),
    "up": ("qflows up --sandbox",),
    "jobs ls": ("qflows jobs ls --status queued --device ionq-simulator",),
    "jobs show": ("qflows jobs show 3f9c01ab",),
    "jobs tag": (
        'qflows jobs tag 3f9c01ab study=h2 name="night run"',
        "qflows jobs tag 3f9c01ab --remove study --ledger-only",
    ),
    "jobs cancel": ("qflows jobs cancel 3f9c01ab 77d0e2c4",),
    "jobs resolve": (
        "qflows jobs resolve 3f9c01ab --submitted 0190c2f5-8d4e-7cc0-a1b2-3c4d5e6f7081",
        "qflows jobs resolve 3f9c01ab --absent",
    ),
    "batch run": (
        "qflows batch run sweep/*.qasm --device ionq-simulator --shots 500 --dry-run",
        "qflows batch run sweep/*.qasm --device ionq-simulator --shots 500 --run-key sweep",
    ),
    "batch ls": ("qflows batch ls",),
    "batch show": ("qflows batch show 9b1d44e0",),
    "batch report": ("qflows batch report 9b1d44e0 --json",),
    "batch rerun": ("qflows batch rerun 9b1d44e0",),
    "batch tag": ("qflows batch tag 9b1d44e0 study=h2 name=night",),
    "batch cancel": ("qflows batch cancel 9b1d44e0",),
    "batch export": ("qflows batch export 9b1d44e0 counts.csv",),
    "group ls": ("qflows group ls --live",),
    "group show": ("qflows group show 5ac2e917",),
    "group results": ("qflows group results 5ac2e917 --timeout 600",),
    "group cancel": ("qflows group cancel 5ac2e917",),
    "group close": ("qflows group close 5ac2e917",),
    "group callback": ("qflows group callback 5ac2e917 --again",),
    "session ls": ("qflows session ls --live",),
    "session show": ("qflows session show c07b3a52",),
    "session close": ("qflows session close c07b3a52",),
    "session cancel": ("qflows session cancel c07b3a52",),
    "ledger upgrade": ("QFLOWS_LEDGER_URL=postgresql+psycopg://me@host/qflows qflows ledger upgrade",),
    "ledger where": ("qflows ledger where",),
    "sandbox start": ("qflows sandbox start --vendors ionq,ibm --clock time:2,1",),
    "sandbox switches": ("qflows sandbox switches qbraid",),
}


def add_to(app: typer.Typer, above: str = "") -> None:
    """Puts the examples under the help of each command of `app` and of its groups."""
    for command in app.registered_commands:
        lines = EXAMPLES.get(f"{above}{command.name}", ())
        if lines:
            # \b keeps the lines as they are: one that wraps cannot be copied
            command.epilog = "\n".join(
                ("\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {x}" for x in lines))
            )
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_to(group.typer_instance, f"{above}{group.name} ")
