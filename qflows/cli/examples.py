"""One worked example, or a few, for the help of every command; a test holds each command to having one."""

from __future__ import annotations

import typer

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "qflows run bell.qasm --device local-aer --shots 1000",
        "qflows run a.qasm b.qasm --device ionq-simulator --option noise_model=aria-1 --run-key monday --json",
        "qflows run bell.qasm --device ibm-kingston --compile 1 --physical-qubits 100,101 --dry-run",
    ),
    "price": (
        "qflows price bell.qasm --device braket-garnet --shots 1000",
        "qflows price sweep/*.qasm --device ionq-forte-1 --shots 500 --option debiasing=true --json",
    ),
    "spend": ("qflows spend --by project --since 30d", "qflows spend --by day --out spend.csv"),
    "budgets ls": ("qflows budgets ls",),
    "budgets apply": ("qflows budgets apply blocks/budgets/",),
    "budgets set": ("qflows budgets set team-month --amount 800",),
    "budgets rm": ("qflows budgets rm team-month",),
    "budgets approve": ('qflows budgets approve team-month --run-key monday --amount 50 --why "last point"',),
    "budgets approvals": ("qflows budgets approvals --json",),
    "vqe": (
        "qflows vqe h2-0.735 --plot h2.png",
        "qflows vqe tfim-4 --device ionq-simulator --shots 500 --max-evaluations 60 --run-key ising",
    ),
    "benchmark": ("qflows benchmark --device local-noisy --device ionq-simulator --shots 500 --plot devices.png",),
    "runs stop": ("qflows runs stop monday", "qflows runs stop monday --undo"),
    "doctor": (
        "qflows doctor",
        "qflows doctor ionq",
        "qflows doctor braket --json",
        'qflows doctor braket --spend "1 usd"',
    ),
    "report": ("qflows report", "qflows report --since 7d --out reports"),
    "devices choose": ("qflows devices choose 'cheapest(local-*; qubits>=20)' --program bell.qasm --shots 1000",),
    "devices show": ("qflows devices show ionq-forte-1",),
    "devices takes": ("qflows devices takes ibm-kingston braket-garnet ionq-forte-1",),
    "apply": ("qflows apply blocks/ --dry-run", "IONQ_API_KEY=... qflows apply blocks/credentials/ionq.yaml"),
    "demo": ("qflows demo --folder demo-output",),
    "reconcile": ("qflows reconcile", "qflows reconcile --every 5"),
    "up": ("qflows up --sandbox",),
    "jobs ls": (
        "qflows jobs ls --status queued --device ionq-simulator",
        "qflows jobs ls --tag study=h2 --since 7d --order -cost --json",
    ),
    "jobs refresh": ("qflows jobs refresh", "qflows jobs refresh 3f9c01ab"),
    "runs ls": ("qflows runs ls --since 7d",),
    "jobs show": ("qflows jobs show 3f9c01ab", "qflows jobs show 3f9c01ab --full"),
    "batches from": ("qflows batches from 3f9c01ab 77d0e2c4 --name both",),
    "jobs tag": (
        'qflows jobs tag 3f9c01ab study=h2 name="night run"',
        "qflows jobs tag 3f9c01ab --remove study --ledger-only",
    ),
    "jobs abandon": ('qflows jobs abandon 3f9c01ab --reason "its account was closed"',),
    "jobs decode": ("qflows jobs decode 3f9c01ab",),
    "archive": ("qflows archive study.zip --tag study=h2", "qflows archive night.zip --run monday --license CC-BY-4.0"),
    "verify": ("qflows verify study.zip", "qflows verify study.zip --json"),
    "status": ("qflows status",),
    "lanes ls": ("qflows lanes ls",),
    "lanes free": ("qflows lanes free qbraid",),
    "accounts ls": ("qflows accounts ls",),
    "accounts same": ("qflows accounts same ionq 4f1d09ac 77b2e0c1",),
    "jobs cancel": ("qflows jobs cancel 3f9c01ab 77d0e2c4",),
    "jobs resolve": (
        "qflows jobs resolve 3f9c01ab --submitted 0190c2f5-8d4e-7cc0-a1b2-3c4d5e6f7081",
        "qflows jobs resolve 3f9c01ab --absent",
    ),
    "batches run": (
        "qflows batches run sweep/*.qasm --device ionq-simulator --shots 500 --dry-run",
        "qflows batches run sweep/*.qasm --device ionq-simulator --shots 500 --run-key sweep",
    ),
    "batches ls": ("qflows batches ls",),
    "batches show": ("qflows batches show 9b1d44e0",),
    "batches report": ("qflows batches report 9b1d44e0 --json",),
    "batches rerun": ("qflows batches rerun 9b1d44e0",),
    "batches tag": ("qflows batches tag 9b1d44e0 study=h2 name=night",),
    "batches cancel": ("qflows batches cancel 9b1d44e0",),
    "batches export": ("qflows batches export 9b1d44e0 counts.csv",),
    "groups ls": ("qflows groups ls --live",),
    "groups show": ("qflows groups show 5ac2e917",),
    "groups results": ("qflows groups results 5ac2e917 --timeout 600",),
    "groups cancel": ("qflows groups cancel 5ac2e917",),
    "groups close": ("qflows groups close 5ac2e917",),
    "groups callback": ("qflows groups callback 5ac2e917 --again",),
    "sessions ls": ("qflows sessions ls --live",),
    "sessions show": ("qflows sessions show c07b3a52",),
    "sessions resolve": ("qflows sessions resolve c07b3a52 --absent",),
    "sessions close": ("qflows sessions close c07b3a52",),
    "sessions cancel": ("qflows sessions cancel c07b3a52",),
    "ledger upgrade": ("QFLOWS_LEDGER_URL=postgresql+psycopg://me@host/qflows qflows ledger upgrade",),
    "ledger where": ("qflows ledger where",),
    "ledger rebuild": ("qflows ledger rebuild ionq", "qflows ledger rebuild --since 2026-10-01"),
    "ledger archive": (
        "qflows ledger archive --older-than 90d --dry-run",
        "qflows ledger archive --older-than 90d --to /archive/qflows --compact",
    ),
    "ledger backup": ("qflows ledger backup qflows-2026-11-27.db",),
    "ledger verify": ("qflows ledger verify", "qflows ledger verify qflows-2026-11-27.db --json"),
    "jobs import": (
        "qflows jobs import ionq-forte-1 --since 7d",
        "qflows jobs import ibm-fez d3k0x8s7v9mc738a5b20",
    ),
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
