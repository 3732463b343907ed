"""Renews the pictures of Prefect's UI in the documentation: `make pictures`.

Starts `qflows up --sandbox` on a home of its own, lets flows run against the emulators, and takes the pictures with a
headless Chromium, driven by Playwright. Both come from the environment of whoever runs this; qflows needs neither.

    python docs/pictures.py                     # into docs/
    python docs/pictures.py --into DIR          # elsewhere, to compare
    python docs/pictures.py --survey DIR        # instead: every form and page in both UI versions, light and dark
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PATIENCE_S = 900
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# as root, and where the network is closed
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
FLOWS = ("sweeping.sweep", "circuits.run_circuits", "benchmarking.benchmark", "probing.probe", "reporting.report",
         "eigensolver.vqe", "combinatorial.qaoa", "watching.wall")  # fmt: skip
# three runs beyond a budget of 30 USD, of which the first of two jobs takes 25.79
APPROVALS = """
import sys
import qflows
from prefect import flow

X = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
H = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;'


@flow(flow_run_name="two points on ionq-forte-1, 100 shots")
def night_run():
    for number, text in enumerate((X, H)):
        qflows.submit(text, device="ionq-forte-1", shots=100, run_key=sys.argv[1], name=f"point {number}")


night_run()
"""
SWEEP = """
import math
import qflows
from qiskit import QuantumCircuit

circuits = []
for n in range(16):
    circuit = QuantumCircuit(4, 4, name=f"angle {n}")
    circuit.ry(n * math.pi / 8, 0)
    circuit.cx(0, 1)
    circuit.ry(n * math.pi / 16, 3)
    circuit.measure(range(4), range(4))
    circuits.append(circuit)
qflows.flows.sweep(circuits, device="ibm-kingston", shots=500, name="night sweep")
"""


def chromium() -> str:
    """The browser's path. Ends the program with what to install if there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        sys.exit("no Chromium found: install it (Debian: apt-get install chromium), or set CHROMIUM to its path")
    return found


@dataclass
class Stack:
    """A running `qflows up --sandbox`: its environment, its API, and the address that logs in."""

    home: Path
    env: dict[str, str]
    login: str

    @property
    def root(self) -> str:
        """The UI's address."""
        return self.env["PREFECT_API_URL"].removesuffix("/api")

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call of Prefect's API."""
        word = base64.b64encode(self.env["PREFECT_API_AUTH_STRING"].encode()).decode()
        request = urllib.request.Request(
            self.env["PREFECT_API_URL"] + path,
            headers={"Authorization": f"Basic {word}", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # SQLite was locked
                    raise
                time.sleep(1)
        sys.exit(f"{path}: the server answers 503 all the time")

    def run(self, *words: str) -> None:
        """A command of this environment, such as `prefect deploy`. Raises CalledProcessError."""
        done = subprocess.run([sys.executable, "-m", *words], check=False, env=self.env, cwd=DOCS.parent, capture_output=True,
                              text=True)  # fmt: skip
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")

    def script(self, text: str, *words: str) -> subprocess.Popen[bytes]:
        """A Python program, started."""
        return subprocess.Popen([sys.executable, "-c", text, *words], env=self.env, cwd=self.home,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def runs(self, name: str, *states: str) -> list[dict[str, Any]]:
        """Flow runs of this flow in these states, newest first."""
        wanted = {"flows": {"name": {"any_": [name]}}, "flow_runs": {"state": {"type": {"any_": list(states)}}},
                  "sort": "START_TIME_DESC"}  # fmt: skip
        return self.api("/flow_runs/filter", wanted)

    def page(self, key: str) -> str:
        """Path of the newest artifact whose key begins so."""
        wanted = {"artifacts": {"key": {"like_": key}, "type": {"any_": ["markdown"]}}, "limit": 1}
        found = until(lambda: self.api("/artifacts/latest/filter", wanted), f"a page {key}")
        return f"/artifacts/artifact/{found[0]['latest_id']}"


def until(look: Callable[[], Any], what: str) -> Any:
    """The first truthy answer. Ends the program after a quarter of an hour."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        if time.monotonic() > deadline:
            sys.exit(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.5)
    return found


@contextmanager
def running() -> Iterator[Stack]:
    """The whole stack on a home that is removed afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QFLOWS_"))}
    with tempfile.TemporaryDirectory(prefix="qflows-pictures-") as folder:
        home = Path(folder)
        out = home / "out"
        with out.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", "qflows.cli", "up", "--sandbox", "--port", "0", "--clock", "time:2,1"],
                env=clean | {"QFLOWS_HOME": str(home)}, cwd=home, stdout=written, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            until(lambda: "Ctrl-C stops" in out.read_text() or process.poll() is not None, "`qflows up`")
            if process.poll() is not None:
                sys.exit(out.read_text())
            lines = (home / "up.env").read_text().splitlines()
            exported = dict(word.split("=", 1) for line in lines for word in shlex.split(line)[1:])
            login = next(word for word in out.read_text().split() if "qflows-login" in word)
            yield Stack(home, clean | exported, login)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def prepare(stack: Stack) -> None:
    """Deployments, and runs of them whose pages are worth a picture."""
    stack.run("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "deployments/sandbox.yaml")
    started = [stack.script(SWEEP)]
    for name in ("vqe/vqe-sandbox", "probe/probe-sandbox", "benchmark/benchmark-sandbox", "sweep/ad-hoc-sandbox"):
        stack.run("prefect", "deployment", "run", name)
    for name in ("vqe", "probe", "benchmark", "sweep"):
        until(lambda name=name: stack.runs(name, "COMPLETED"), f"a run of {name}")
    for one in started:
        one.wait(PATIENCE_S)


class Camera:
    """A browser that is logged in, with one kind of window."""

    def __init__(
        self,
        browser: Any,
        stack: Stack,
        into: Path,
        *,
        ui: int,
        scheme: str,
        size: tuple[int, int] = (1280, 900),
        scale: float = 1.0,
    ) -> None:
        self.stack, self.into, self.ui = stack, into, ui
        self.size = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=self.size, device_scale_factor=scale, color_scheme=scheme)
        # version 1 does not follow the system
        context.add_init_script(f"localStorage.setItem('color-scheme', '\"{scheme}\"')")
        self.page = context.new_page()
        self.page.goto(stack.login)
        self._settle()

    def _settle(self) -> None:
        self.page.wait_for_load_state("load")
        self.page.wait_for_timeout(1500)
        self.page.evaluate("document.fonts.ready")

    def open(self, path: str, *texts: str) -> None:
        """Open a page of the UI and wait until it shows these texts."""
        self.page.goto(self.stack.root + ("/v2" if self.ui == 2 else "") + path)
        for text in texts:
            self.page.get_by_text(text).first.wait_for(timeout=60_000)
        self._settle()

    def take(self, name: str, *, whole: bool = False) -> None:
        """Write NAME.png in 256 colors, which halves it. `whole`: as high as what scrolls, up to a limit."""
        from PIL import Image

        if whole:
            high = self.page.evaluate(
                "Math.max(...[...document.querySelectorAll('*')].filter(e => e === document.scrollingElement || "
                "['auto', 'scroll'].includes(getComputedStyle(e).overflowY)).map(e => e.scrollHeight))"
            )
            self.page.set_viewport_size(self.size | {"height": max(self.size["height"], min(high + 60, 4200))})
            self.page.wait_for_timeout(500)
        seen = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        path = self.into / f"{name}.png"
        seen.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        self.page.set_viewport_size(self.size)
        print(f"{path.name}: {seen.width} x {seen.height}, {path.stat().st_size // 1024} kB", flush=True)


def for_docs(browser: Any, stack: Stack, into: Path) -> None:
    """The pictures that the documentation shows."""
    v2 = Camera(browser, stack, into, ui=2, scheme="light", size=(1280, 1050), scale=0.8)
    v2.open("/runs", "night sweep")
    v2.take("ui-runs")
    v2.open("/events", "qflows.job")
    v2.page.get_by_text("All event types").click()
    v2.page.get_by_role("option", name="qflows.job.*").click()
    v2.page.keyboard.press("Escape")
    v2.page.wait_for_timeout(2000)
    v2.take("ui-events")
    sweep = next(one for one in stack.runs("sweep", "COMPLETED") if "night sweep" in one["name"])
    wanted = {"artifacts": {"flow_run_id": {"any_": [sweep["id"]]}, "type": {"any_": ["markdown"]}}, "limit": 1}
    v2.open(f"/artifacts/artifact/{stack.api('/artifacts/filter', wanted)[0]['id']}", "circuits have results")
    v2.take("ui-sweep")
    (form,) = stack.api("/deployments/filter", {"deployments": {"name": {"any_": ["benchmark-sandbox"]}}})
    v2.open(f"/deployments/deployment/{form['id']}/run", "mirror_circuits")
    v2.take("ui-form")
    v1 = Camera(browser, stack, into, ui=1, scheme="dark", size=(1280, 1050), scale=0.8)
    v1.open(stack.page("vqe-%"), "evaluations")
    v1.take("ui-vqe-v1")


def approvals(browser: Any, stack: Stack, into: Path) -> None:
    """A run that asks: its form, then how it ends with each of the three answers."""
    camera = Camera(browser, stack, into, ui=1, scheme="dark", size=(1280, 1000))
    document = stack.home / "team.yaml"
    document.write_text("kind: budget\nname: team\namount: 30\nperiod: run\npolicy: ask\nask_timeout: 5m\n")
    stack.run("qflows.cli", "budgets", "apply", str(document))
    for verdict, why, picture in (("approve", "last point of the curve", "ui-approved"), ("deny", "too dear", "ui-denied"),
                                  (None, "", "ui-not-answered")):  # fmt: skip
        if verdict is None:
            document.write_text(document.read_text().replace("5m", "5s"))
            stack.run("qflows.cli", "budgets", "apply", str(document))
        asking = stack.script(APPROVALS, f"monday-{verdict or 'silence'}")
        if verdict is not None:
            (run,) = until(lambda: stack.runs("night-run", "PAUSED"), "a run that asks")
            if verdict == "approve":
                form_of(camera, run["id"], why)
            answer = {"verdict": verdict, "who": "Eve", "why": why}
            stack.api(f"/flow_runs/{run['id']}/resume", {"run_input": answer})
        asking.wait(PATIENCE_S)
        state = "COMPLETED" if verdict == "approve" else "FAILED"
        run = until(lambda state=state: stack.runs("night-run", state), "its end")[0]
        camera.open(f"/runs/flow-run/{run['id']}", state.capitalize(), "Beginning flow run")
        camera.take(picture)


def form_of(camera: Camera, run_id: str, why: str) -> None:
    """The form that a paused run shows, filled in, but not sent."""
    camera.open(f"/runs/flow-run/{run_id}", "Resume")
    page = camera.page
    page.get_by_role("button", name="Resume").first.click()
    page.get_by_text("May this run exceed the budget?").wait_for()
    page.get_by_role("dialog").locator("textarea").first.fill("Eve")
    page.get_by_role("dialog").locator("textarea").nth(1).fill(why)
    page.wait_for_timeout(500)
    camera.take("ui-approval")


def survey(browser: Any, stack: Stack, into: Path) -> None:
    """Every form, block, page and run, in both versions of the UI, light and dark."""
    document = stack.home / "forms.yaml"
    plain = [{"name": "plain", "entrypoint": f"qflows.flows.{one}", "work_pool": {"name": "qflows"}} for one in FLOWS]
    document.write_text(json.dumps({"name": "forms", "pull": [], "deployments": plain}))
    stack.run("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(document))
    pages = {
        f"form-{one['entrypoint'].rpartition('.')[2]}": f"/deployments/deployment/{one['id']}/run"
        for one in stack.api("/deployments/filter", {"deployments": {"name": {"any_": ["plain"]}}})
    }
    kinds = stack.api("/block_types/filter", {"limit": 200})
    pages |= {
        f"block-{one['slug']}": f"/blocks/catalog/{one['slug']}/create" for one in kinds if "qflows" in one["slug"]
    }
    written = stack.api("/artifacts/latest/filter", {"artifacts": {"type": {"any_": ["markdown"]}}})
    pages |= {f"page-{one['key']}": f"/artifacts/artifact/{one['latest_id']}" for one in written}
    pages |= {f"run-{one['id'][:8]}": f"/runs/flow-run/{one['id']}" for one in stack.runs("sweep", "COMPLETED")}
    for ui in (1, 2):
        for scheme in ("light", "dark"):
            camera = Camera(browser, stack, into, ui=ui, scheme=scheme)
            for name, path in pages.items():
                camera.open(path)
                camera.take(f"v{ui}-{scheme}-{name}", whole=True)


def main() -> None:
    """Reads the arguments, then takes the pictures."""
    parser = argparse.ArgumentParser(description="Renew the documentation's pictures of Prefect's UI.")
    parser.add_argument("--into", type=Path, default=DOCS, help="folder for the pictures; default: docs")
    parser.add_argument("--only", choices=("runs", "approvals"), help="only the pictures of these")
    parser.add_argument("--survey", type=Path, help="every form and page into this folder, instead")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the stack is stopped, too
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("Playwright is missing: pip install playwright")
    path = chromium()
    into = wanted.survey or wanted.into
    into.mkdir(parents=True, exist_ok=True)
    with running() as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        if wanted.only != "approvals":
            prepare(stack)
            (survey if wanted.survey else for_docs)(browser, stack, into)
        if wanted.only != "runs" and not wanted.survey:
            approvals(browser, stack, into)
        browser.close()


if __name__ == "__main__":
    main()
