"""A user's script, type-checked against the installed wheel: planted mistakes are found, and nothing else is.

The wheel is built and unpacked once into an environment of its own; its dependencies come from the environment of the
tests, whose editable qflows stays out of sight.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """\
import qflows
from qflows import Job, Result

circuit = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;'

job: Job = qflows.submit(circuit, device="local-aer", shots=1000, run_key="script", tags={"study": "types"})
result: Result = qflows.result(job, timeout=60)
zeros: int = result.counts["0"]
again: Result = qflows.run(circuit, device="local-aer", shots=10, run_key="script", timeout=60.0, sample=3)

qflows.submit(circuit, device="local-aer", shots="many")
qflows.run(circuit, device="local-aer", shotz=3)
number: int = qflows.submit(circuit, device="local-aer", shots=10)

with qflows.session("ibm-kingston", max_time="30m") as session:
    session.run(circuit, shots=1000, observables="Z")
with qflows.group("comparison", max_ttl="1h") as group:
    group.submit(circuit, device="local-aer", shots=10)
values = qflows.batch([circuit], device="local-aer", shots=10).result(partial=True)
"""
MISTAKES = ('shots="many"', "shotz=3", "number: int")
PLANTED = [n for n, line in enumerate(SCRIPT.splitlines(), 1) if any(word in line for word in MISTAKES)]
DEPENDENCIES = [
    f"{name}.*"
    for name in ("prefect", "pydantic", "pydantic_settings", "sqlalchemy", "qiskit", "numpy", "scipy", "httpx")
]


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the built wheel."""
    home = tmp_path_factory.mktemp("wheel")
    if find_spec("uv"):
        built = _run(
            sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", home / "dist", ROOT, cwd=home
        )
    else:
        built = _run(
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", home / "dist", ROOT, cwd=home
        )
    assert built.returncode == 0, built.stderr
    venv.create(home / "env", with_pip=False)
    [site] = (home / "env" / "lib").glob("python*/site-packages")
    [wheel] = (home / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # a folder that is added this way has its own .pth files ignored, the one of the editable install among them
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "env" / "bin" / "python"


def test_the_wheel_is_what_is_imported_and_says_that_it_is_typed(python: Path) -> None:
    said = _run(python, "-c", "import pathlib, qflows; print(pathlib.Path(qflows.__file__).parent)", cwd=python.parent)
    assert said.returncode == 0, said.stderr
    package = Path(said.stdout.strip())
    assert package.is_relative_to(python.parents[1])
    assert (package / "py.typed").exists()


def test_basedpyright_finds_exactly_the_planted_mistakes(python: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard", "include": ["script.py"]}')
    checker = Path(sys.executable).with_name("basedpyright")
    checked = _run(checker, "--outputjson", "--pythonpath", python, "--project", tmp_path, cwd=tmp_path)
    found = json.loads(checked.stdout)["generalDiagnostics"]
    lines = [one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error"]
    assert sorted(lines) == PLANTED, found


def test_mypy_finds_exactly_the_planted_mistakes(python: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    # what qflows itself imports is not followed: that takes most of the time, and is not what users are promised
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n[mypy-{','.join(DEPENDENCIES)}]\nfollow_imports = skip\n")
    checked = _run(
        sys.executable, "-m", "mypy", "--python-executable", python, "--cache-dir", tmp_path / "cache", "script.py",
        cwd=tmp_path,
    )  # fmt: skip
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert sorted(int(line.split(":")[1]) for line in errors) == PLANTED, checked.stdout + checked.stderr
