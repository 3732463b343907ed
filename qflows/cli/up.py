"""`qflows up`: Prefect server, worker, reconciler and optionally the sandbox on one machine, as one command."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shlex
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.screen import Exit, errors_as_exit_codes, say
from qflows.cli.supervisor import Child, DidNotStart, Supervisor
from qflows.errors import ProgramRejected
from qflows.privacy.files import private_text
from qflows.privacy.redaction import protect
from qflows.sandbox.admin_client import Admin, AdminError
from qflows.settings import Settings

POOL = "qflows"
_AUTH = frozenset({"PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_KEY"})
_SETTINGS = {
    # one write per batch instead of one per event: 3.5 times less server time (measured on Prefect 3.8.8)
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
    # the reconciler calls a run dead after three heartbeats
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # in memory, a killed server forgets who holds a deployment's concurrency slot: no run of it ever starts again,
    # and one that was just starting is cancelled (Prefect 3.8.8)
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect server and its UI; 0 picks a free one.")] = 4200,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox", help="Also start the vendor emulators; the worker and reconciler then use only these."
        ),
    ] = False,
    clock: Annotated[str, typer.Option(help="The sandbox's clock, as for `qflows sandbox start`.")] = "time:2,1",
    limit: Annotated[
        int, typer.Option(help="Maximum number of concurrent flow runs; suspended ones do not count.")
    ] = 10,
    every: Annotated[float, typer.Option(help="Seconds between runs of the reconciler.")] = 2.0,
    crash_retries: Annotated[int, typer.Option(help="How often to retry a crashed flow run; 0 for never.")] = 3,
    dead_after: Annotated[
        float, typer.Option(help="Seconds without a heartbeat after which a flow run counts as crashed.", min=60)
    ] = 90.0,
    auth: Annotated[
        bool,
        typer.Option(
            "--auth/--no-auth", help="Protect the server with a password; --no-auth opens it to all local users."
        ),
    ] = True,
) -> None:
    """Start everything flows need; stop with Ctrl-C.

    That is a Prefect server with its UI, a worker for the work pool `qflows`, and the reconciler. All state is kept in
    QFLOWS_HOME, so the next start continues where this one stopped. Processes that die are restarted. Everything
    listens on loopback only. The server requires a password, which is generated at the first start and kept in
    QFLOWS_HOME/up.env.
    """
    with errors_as_exit_codes():
        home = Settings().home.expanduser().absolute()
        home.mkdir(parents=True, exist_ok=True)
        with _only_one(home):
            supervisor = Supervisor(home / "up.children.json", _say)
            supervisor.take_signals()
            supervisor.end_orphans()
            try:
                reconciler = [sys.executable, "-m", "qflows.cli", "reconcile", "--every", f"{every:g}"]
                reconciler += ["--crash-retries", str(crash_retries), "--dead-after", f"{dead_after:g}"]
                # runs are processes of this machine: one that does not start in that time never will
                reconciler += ["--pending-after", f"{dead_after:g}"]
                password = _password(home) if auth else None
                env, lines = _start_all(supervisor, home, port, clock if sandbox else None, limit, reconciler, password)
                if not supervisor.is_stopping:
                    _greet(home, env, lines)
                supervisor.run()
            except DidNotStart as error:
                say(f"qflows: {error}", err=True, fg="red")
                raise typer.Exit(Exit.FAILED) from None
            finally:
                if supervisor.children:
                    _say("stopping")
                    supervisor.stop()
                    _say("stopped; `qflows up` continues where it was")


def _say(text: str) -> None:
    # not through the redactor: the link that logs in is printed on purpose, and every line is our own
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()  # into a log file as well as onto a terminal


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Holds the home's lock; the kernel frees it however this process ends. Raises ProgramRejected with the pid."""
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ProgramRejected(
                f"`qflows up` is already running on {home}, as pid {lock.read().strip() or 'unknown'}; stop it, or set "
                "QFLOWS_HOME to another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _start_all(
    supervisor: Supervisor,
    home: Path,
    port: int,
    clock: str | None,
    limit: int,
    reconciler: list[str],
    password: str | None,
) -> tuple[dict[str, str], list[str]]:
    """Starts the children in order; returns what to export to use them, and what to tell about them."""
    from qflows.prefect.guarded_server import login_url  # not at the top: other commands do without Starlette

    ports = _ports(home, port, with_sandbox=clock is not None)
    api = f"http://127.0.0.1:{ports['server']}/api"
    exports = {"QFLOWS_HOME": str(home), "PREFECT_API_URL": api, "PREFECT_HOME": str(home / "prefect")}
    exports["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = _SETTINGS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
    if password:
        exports["PREFECT_API_AUTH_STRING"] = password
        lines = [
            f"UI       {login_url(ports['server'], password)}",
            "         (this link logs in; do not share it)",
        ]
    else:
        lines = [
            f"UI       http://127.0.0.1:{ports['server']}",
            "         no password: every user of this machine has access",
        ]
    lines.append(f"worker   work pool {POOL}, {limit} runs at a time")
    if clock is not None:
        vendors = {name: number for name, number in ports.items() if name != "server"}
        supervisor.start(_sandbox(home, vendors, clock))
        exports |= _sandbox_env(vendors)
        exports["QFLOWS_LEDGER_URL"] = Settings().resolved_sandbox_ledger_url()
        lines.append(f"sandbox  {', '.join(vendors)}, on loopback; no real vendor is contacted")
    inherited = {name: value for name, value in os.environ.items() if name not in _AUTH}
    env = _SETTINGS | inherited | exports
    if not supervisor.is_stopping:
        _start_server(supervisor, _server(home, ports["server"], env, password), ports["server"])
    prefect = [sys.executable, "-m", "prefect"]
    worker = [*prefect, "worker", "start", "--pool", POOL, "--type", "process", "--limit", str(limit)]
    # a worker is ready when its pool is there: only then can anything be deployed to it
    pool = f"{api}/work_pools/{POOL}"
    for child in (
        Child("reconciler", reconciler, env, _log(home, "reconciler")),
        Child("worker", worker, env, _log(home, "worker"), lambda: _answers(pool, password)),
    ):
        if not supervisor.is_stopping:
            supervisor.start(child)
    return exports, lines


def _start_server(supervisor: Supervisor, server: Child, port: int) -> None:
    """Starts it, and says so when the port was taken since it was found free."""
    try:
        supervisor.start(server)
    except DidNotStart as error:
        if _is_free(port):
            raise
        raise DidNotStart(
            f"another program took port {port} while the Prefect server was starting; start again with another --port, "
            f"or with --port 0 for a free one (its log is {server.log})"
        ) from error


def _server(home: Path, port: int, env: dict[str, str], password: str | None) -> Child:
    from qflows.prefect.guarded_server import PROCESS_PATH, origins

    own = {
        # without it the UI asks port 4200, whatever the server's
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        # Prefect's default lets a page of any site read the answers
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins(port)),
    }
    if password:
        own["PREFECT_SERVER_API_AUTH_STRING"] = password
    command = [sys.executable, "-m", "qflows.prefect.guarded_server", str(port)]
    address = f"http://127.0.0.1:{port}"
    child = Child("server", command, env | own, _log(home, "server"))

    def is_ready() -> bool:
        # another program may have taken the port since it was found free, another `qflows up` for example
        own = child.process is not None and _text(f"{address}{PROCESS_PATH}") == str(child.process.pid)
        return own and _answers(f"{address}/api/health")

    child.is_ready = is_ready
    return child


def _password(home: Path) -> str:
    """The server's user and password: those of the environment, else of the last time, else new ones."""
    given = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or _exported(home).get("PREFECT_API_AUTH_STRING")
    chosen = given or f"qflows:{secrets.token_urlsafe(24)}"
    protect(chosen, chosen.partition(":")[2])
    return chosen


def _exported(home: Path) -> dict[str, str]:
    """What `up.env` held; empty if there is none, or if others could have written it."""
    path = home / "up.env"
    try:
        if path.stat().st_uid != os.geteuid():
            return {}
        words = [word for line in path.read_text().splitlines() for word in shlex.split(line)[1:]]
    except (OSError, ValueError):
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def _sandbox(home: Path, ports: dict[str, int], clock: str) -> Child:
    command = [sys.executable, "-m", "qflows.sandbox", "--vendors", ",".join(ports), "--clock", clock]
    command += ["--port", ",".join(map(str, ports.values())), "--state-dir", str(home / "sandbox")]
    url = f"http://127.0.0.1:{next(iter(ports.values()))}"

    def is_ready() -> bool:
        try:
            return bool(Admin(url, timeout_s=2).info())
        except (OSError, AdminError):
            return False

    return Child("sandbox", command, dict(os.environ), _log(home, "sandbox"), is_ready)


def _sandbox_env(ports: dict[str, int]) -> dict[str, str]:
    vendors = Admin(f"http://127.0.0.1:{next(iter(ports.values()))}").info()["vendors"]
    return {name: value for vendor in vendors.values() for name, value in vendor["env"].items()}


def _answers(url: str, password: str | None = None) -> bool:
    headers = {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"} if password else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _text(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read(100).decode(errors="replace")
    except (urllib.error.URLError, OSError):
        return None


def _log(home: Path, name: str) -> Path:
    folder = home / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.log"


def _ports(home: Path, port: int, *, with_sandbox: bool) -> dict[str, int]:
    """Ports by child: those of the last time where they are free, so that exported addresses stay true."""
    record = home / "up.ports.json"
    try:
        known: dict[str, int] = json.loads(record.read_text())
    except (OSError, ValueError):
        known = {}
    if port and not _is_free(port):
        raise ProgramRejected(f"port {port} is taken; pass another --port, or 0 for a free one")
    chosen = {"server": port or _free_port(known.get("server"))}
    if with_sandbox:
        from qflows.sandbox.run import known_vendors

        for vendor in known_vendors():
            chosen[vendor] = _free_port(known.get(vendor))
    record.write_text(json.dumps(known | chosen))
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(wanted: int | None) -> int:
    if wanted and _is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _greet(home: Path, env: dict[str, str], lines: list[str]) -> None:
    exports = home / "up.env"
    private_text(exports, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items()))
    for line in lines:
        _say(line)
    _say(f"logs     {home / 'logs'}")
    _say(f"in another terminal: source {shlex.quote(str(exports))}")
    _say("Ctrl-C stops everything")
