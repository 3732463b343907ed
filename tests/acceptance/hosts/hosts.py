"""Several machines: nights of purchases while hosts are cut off, killed, and the database and the server restarted.

`python tests/acceptance/hosts/hosts.py`. Each host is a network namespace with its own address and home: the vendors'
emulators, PostgreSQL, two places for the Prefect server, two workers, two reconcilers. Where there is a C compiler,
each has a clock of its own, wrong by more than a lease. A host that is cut off stays so for longer than its lease. At
the end every intent has one job at the vendor and one result, and nothing is open. Needs root, iproute2 and
PostgreSQL's binaries; where these are missing it says so and ends with exit code 77.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "story")]

import postgres  # noqa: E402
from net import Host, Network, NotPermitted, until  # noqa: E402

from qflows.sandbox import Admin  # noqa: E402

STORY = HERE.parent / "story"
SKIPPED = 77
VENDORS = {"ionq": 18401, "braket": 18402}
DEVICES = ("ionq-simulator", "braket-sv1")
ROUNDS, PROGRAMS = 2, 3
JOBS_A_NIGHT = len(DEVICES) * ROUNDS * PROGRAMS
# seconds that a host's clock is ahead; the vendors' is right, and AWS takes signatures of five minutes around it
CLOCKS = {
    "vendors": 0, "db": 40, "server-1": -30, "server-2": 60,
    "worker-1": 110, "worker-2": -110, "rec-1": -110, "rec-2": 110,
}  # fmt: skip
LEASE_S = 20.0  # of claims and lanes; a host is cut off for longer
AUTH = "qflows:of-the-hosts"


@dataclass
class Lab:
    """The machines and what runs on them."""

    network: Network
    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    nights: list[UUID] = field(default_factory=list)
    deployment: UUID | None = None
    server: str = "server-1"
    began: float = field(default_factory=time.monotonic)

    def build(self) -> None:
        """All hosts, plugged in; nothing runs yet."""
        for number, (name, error_s) in enumerate(CLOCKS.items()):
            self.hosts[name] = self.network.add(name, 10 + number, error_s)
        if self.network.clock_library is None:
            print("there is no C compiler: all hosts have the same clock")
        else:
            print("clocks ahead by: " + ", ".join(f"{name} {error_s} s" for name, error_s in CLOCKS.items()))
        self.network.call("db.lab", self.hosts["db"].address)
        self.network.call("prefect.lab", self.hosts[self.server].address)

    # -- services

    def env(self, host: Host) -> dict[str, str]:
        """What a host's processes get: its own home, and where everything is."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QFLOWS_"))}
        return clean | self.vendor_env | {
            "HOME": str(host.home),
            "QFLOWS_HOME": str(host.home / "qflows"),
            "PREFECT_HOME": str(host.home / "prefect"),
            "PREFECT_API_URL": "http://prefect.lab:4200/api",
            "PREFECT_API_AUTH_STRING": AUTH,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "QFLOWS_LEDGER_URL": "postgresql+psycopg://postgres@db.lab:5432/qflows",
            "QFLOWS_LEASE_S": str(LEASE_S),
            "QFLOWS_HTTP_TIMEOUT_S": str(LEASE_S / 2),
            "QFLOWS_SETTLE_S": "2",
        }  # fmt: skip

    def start_vendors(self) -> None:
        """The emulators, on loopback of their host, and a door to them on its address."""
        host = self.hosts["vendors"]
        ports = ",".join(map(str, VENDORS.values()))
        command = [sys.executable, "-m", "qflows.sandbox", "--vendors", ",".join(VENDORS), "--port", ports]
        command += ["--clock", "time:4,1", "--allow-host", host.address]
        host.serve("sandbox", command, os.environ)
        pairs = [word for port in VENDORS.values() for word in (f"{host.address}:{port}", f"127.0.0.1:{port}")]
        host.serve("relay", [sys.executable, str(HERE / "relay.py"), *pairs], os.environ)
        self.admin = Admin(f"http://{host.address}:{VENDORS['ionq']}", timeout_s=10)

        def info() -> Any:
            try:
                return self.admin.info()
            except OSError:
                return None

        told = until(info, timeout_s=120, what="the emulators")
        self.vendor_env = {name: value for one in told["vendors"].values() for name, value in one["env"].items()}

    def start_database(self) -> None:
        """PostgreSQL on its own host, for the network."""
        host, place = self.hosts["db"], postgres.binaries()
        account = pwd.getpwnam("postgres")
        data = host.home / "data"
        for path in (self.folder, host.home):
            path.chmod(0o755)
        os.chown(host.home, account.pw_uid, account.pw_gid)
        with (host.home / "initdb.log").open("wb") as log:
            initdb = [place / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]
            subprocess.run(initdb, check=True, user="postgres", stdout=log, stderr=log, cwd=host.home)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/24 trust\n")
        options = ["-c", f"listen_addresses={host.address}", "-c", "fsync=off", "-c", "max_connections=300"]
        options += ["-c", f"unix_socket_directories={host.home}"]
        run_as = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        command = [str(place / "postgres"), "-D", str(data), *options]
        host.serve("postgres", command, os.environ, run_as=run_as)
        self._await_database()
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in ("prefect", "qflows"):
                connection.exec_driver_sql(f"create database {name}")
        engine.dispose()

    def url(self, database: str) -> str:
        """Of a database, from the machine that plays this."""
        return f"postgresql+psycopg://postgres@{self.hosts['db'].address}:5432/{database}"

    def _await_database(self) -> None:
        def answers() -> bool:
            engine = sa.create_engine(self.url("postgres"))
            try:
                engine.connect().close()
            except sa.exc.OperationalError:
                return False
            finally:
                engine.dispose()
            return True

        until(answers, timeout_s=60, what="PostgreSQL")

    def start_server(self, name: str) -> None:
        """The Prefect server on that host, under the name that clients know."""
        host = self.hosts[name]
        own = {
            "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://postgres@db.lab:5432/prefect",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
            "PREFECT_SERVER_UI_API_URL": "http://prefect.lab:4200/api",
        }
        self.network.call("prefect.lab", host.address)
        self.server = name
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", host.address, "--port", "4200"]
        host.serve("server", command, self.env(host) | own)
        until(self._server_answers, timeout_s=300, what="the Prefect server")

    def _server_answers(self) -> bool:
        try:
            with self.client() as api:
                return api.get("/health").status_code == 200
        except httpx.HTTPError:
            return False

    def start_rest(self) -> None:
        """Ledger, workers and reconcilers, each with a door to the vendors on its loopback."""
        doors = [
            word
            for port in VENDORS.values()
            for word in (f"127.0.0.1:{port}", f"{self.hosts['vendors'].address}:{port}")
        ]
        first = self.hosts["rec-1"]
        upgrade = [
            "ip",
            "netns",
            "exec",
            first.space,
            *first.clock,
            sys.executable,
            "-m",
            "qflows.cli",
            "ledger",
            "upgrade",
        ]
        subprocess.run(upgrade, env=self.env(first), check=True, stdout=subprocess.DEVNULL)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "qflows", "--type", "process"]
        reconciler = [sys.executable, "-m", "qflows.cli", "reconcile", "--every", "1"]
        reconciler += ["--crash-retries", "20", "--dead-after", "90"]
        for name, command in (
            ("worker-1", [*worker, "--name", "one"]),
            ("worker-2", [*worker, "--name", "two"]),
            ("rec-1", reconciler),
            ("rec-2", reconciler),
        ):
            host = self.hosts[name]
            host.serve("relay", [sys.executable, str(HERE / "relay.py"), *doors], os.environ)
            host.serve("main", command, self.env(host))

    # -- what a user does

    def client(self) -> httpx.Client:
        """The server's API, from the machine that plays this."""
        user, _, password = AUTH.partition(":")
        url = f"http://{self.hosts[self.server].address}:4200/api"
        return httpx.Client(base_url=url, auth=(user, password), timeout=20, trust_env=False)

    def deploy(self) -> None:
        """The nightly flow of the story."""

        def pool() -> bool:
            with self.client() as api:
                return api.get("/work_pools/qflows").status_code == 200

        until(pool, timeout_s=240, what="the work pool")
        with self.client() as api:
            flow = api.post("/flows/", json={"name": "nightly"}).raise_for_status().json()["id"]
            what = {
                "flow_id": flow,
                "name": "hosts",
                "work_pool_name": "qflows",
                "path": str(STORY),
                "entrypoint": "nightly.py:nightly",
                "tags": ["qflows"],
                "parameters": {"devices": list(DEVICES), "rounds": ROUNDS},
                "enforce_parameter_schema": False,
            }
            self.deployment = UUID(api.post("/deployments/", json=what).raise_for_status().json()["id"])

    def night(self, n: int = 2) -> None:
        """New nights; both workers take some."""
        for _ in range(n):
            self.nights.append(until(self._new_night, timeout_s=180, what="the server to take a night"))

    def _new_night(self) -> UUID | None:
        slot = datetime.now(UTC) + timedelta(seconds=1)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": slot.isoformat()}}
        key = f"night {len(self.nights) + 1}"  # asked again after a lost answer, it is the same night
        try:
            with self.client() as api:
                answer = api.post(
                    f"/deployments/{self.deployment}/create_flow_run", json={"state": state, "idempotency_key": key}
                )
                return UUID(answer.raise_for_status().json()["id"])
        except httpx.HTTPError:
            return None

    def runs(self) -> list[dict[str, Any]]:
        """The nights as the server has them; none while it does not answer."""
        try:
            with self.client() as api:
                return [api.get(f"/flow_runs/{night}").raise_for_status().json() for night in self.nights]
        except httpx.HTTPError:
            return []

    def live_on(self, seconds: float) -> None:
        """Let time pass; init systems do their work."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.network.tend()
            time.sleep(0.3)

    def bought(self) -> int:
        """Jobs at the vendors."""
        return self.admin.count_jobs()

    def buying(self) -> None:
        """Until the newest nights have bought something and are not over."""
        before = self.bought()
        until(lambda: self.network.tend() or self.bought() > before, timeout_s=180, what="a purchase")

    def say(self, what: str) -> None:
        """A line of the table."""
        states = Counter(run["state_name"] for run in self.runs())
        told = ", ".join(f"{n} {name}" for name, n in states.items())
        print(f"{time.monotonic() - self.began:>7.0f}  {what:<58} {self.bought():>5}  {told}", flush=True)

    # -- what happens

    def cut_off(self, names: tuple[str, ...]) -> None:
        """Hosts lose the network for longer than any lease, and come back."""
        for name in names:
            self.hosts[name].link("down")
        self.live_on(LEASE_S * 1.5)
        for name in names:
            self.hosts[name].link("up")

    def kill(self, name: str) -> None:
        """A host loses power and is switched on again."""
        self.hosts[name].kill()
        self.live_on(2)

    def restart_database(self) -> None:
        """PostgreSQL stops at once, and comes back."""
        self.hosts["db"].kill()
        time.sleep(3)
        self.hosts["db"].tend()
        self._await_database()

    def move_server(self) -> None:
        """The server stops here and starts there, on the same database; its name follows."""
        self.hosts[self.server].stop("server")
        self.start_server("server-2" if self.server == "server-1" else "server-1")

    def play(self) -> bool:
        """Everything in turn, each while something is being bought."""
        acts: list[tuple[str, Callable[[], None]]] = [
            ("nothing", lambda: None),
            (f"worker-1 and rec-1 cut off for {LEASE_S * 1.5:.0f} s", lambda: self.cut_off(("worker-1", "rec-1"))),
            ("worker-2 killed, and started again", lambda: self.kill("worker-2")),
            ("rec-2 killed, and started again", lambda: self.kill("rec-2")),
            ("PostgreSQL killed, and started again", self.restart_database),
            ("Prefect server moved to the other host", self.move_server),
        ]
        print(f"{'s':>7}  {'what happened':<58} {'jobs':>5}  nights", flush=True)
        for what, act in acts:
            self.night()
            self.buying()
            act()
            self.say(what)
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            self.live_on(2)
            runs = self.runs()
            if runs and all(run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED") for run in runs):
                break
        self.say("waited for the end")
        return self.count()

    def count(self) -> bool:
        """Whether what was wanted was bought once, and nothing is left."""
        wanted = JOBS_A_NIGHT * len(self.nights)
        complete = sum(run["state_type"] == "COMPLETED" for run in self.runs())
        keys = {job["key"] for vendor in VENDORS for job in self.admin.jobs(vendor)}
        engine = sa.create_engine(self.url("qflows"))
        with engine.connect() as connection:

            def number(query: str) -> int:
                return connection.exec_driver_sql(query).scalar_one()

            intents = number("select count(*) from jobs")
            results = number("select count(*) from results")
            opened = number("select count(*) from jobs where status not in ('COMPLETED', 'FAILED', 'CANCELLED')")
            opened += number("select count(*) from charges where state in ('HELD', 'WAITING')")
            opened += number("select count(*) from sessions where state <> 'CLOSED'")
            retries = number("select count(*) from crash_retries")
        engine.dispose()
        print(f"nights {len(self.nights)}, Completed {complete}, crash retries {retries}")
        print(
            f"jobs wanted {wanted}, intents {intents}, bought {self.bought()} under {len(keys)} keys, results {results}"
        )
        print(f"open or reserved: {opened}", flush=True)
        return (
            wanted == intents == self.bought() == len(keys) == results and complete == len(self.nights) and not opened
        )


def main() -> int:
    """0: as it should be; 1: not; 77: namespaces or PostgreSQL are missing here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the homes and their logs")
    chosen = parser.parse_args()
    if os.geteuid():
        print("skipped: hosts are network namespaces, which only root can make")
        return SKIPPED
    folder = Path(tempfile.mkdtemp(prefix="qf-hosts-", dir="/tmp"))
    is_good = False
    try:
        postgres.binaries()
        with Network(folder) as network:
            lab = Lab(network, folder)
            lab.build()
            lab.start_vendors()
            lab.start_database()
            lab.start_server("server-1")
            lab.start_rest()
            lab.deploy()
            is_good = lab.play()
    except (NotPermitted, postgres.NoPostgres) as error:
        print(f"skipped: {error}")
        return SKIPPED
    finally:
        if is_good and not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs are in {folder}")
    print("every intent has one job and one result" if is_good else "NOT AS IT SHOULD BE", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
