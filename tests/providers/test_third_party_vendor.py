"""A vendor in a package of its own passes the conformance suite and is used by name: nothing of qflows was edited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "third_party_vendor"


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """What a command printed. Fails with all of it if the command does."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package alone, for PYTHONPATH; in it `tests` of the package."""
    home = tmp_path_factory.mktemp("third-party")
    source, target = home / "source", home / "site"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    options: Sequence[str | Path] = ("--quiet", "--no-deps", "--no-build-isolation", "--target", target, source)
    uv = ("-m", "uv", "pip", "install", "--offline", "--python", sys.executable)
    installer = uv if find_spec("uv") else ("-m", "pip", "install", "--disable-pip-version-check")
    run(sys.executable, *installer, *options, cwd=home)
    shutil.rmtree(source / "tinyq_qflows")  # what runs is what was installed
    shutil.rmtree(source / "tinyq_sandbox")
    return home


def python(installed: Path, *words: str) -> str:
    """Output of an interpreter that sees the package."""
    return run(sys.executable, *words, cwd=installed / "source", PYTHONPATH=str(installed / "site"))


@pytest.mark.slow(reason="a wheel is built and a test run of its own is started on it")
def test_conformance_suite_passes_through_entry_points_alone(installed: Path) -> None:
    said = python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "tests")
    assert " passed" in said
    assert "skipped" not in said


def test_package_is_seen_by_every_command(installed: Path) -> None:
    code = "from qflows.cli import main; import sys\nsys.argv = ['qflows', 'devices', '--json']\nmain()\n"
    assert '"tinyq-one"' in python(installed, "-c", code)
    known = "from qflows import providers; from qflows.sandbox.run import known_vendors\n"
    assert "tinyq" not in run(sys.executable, "-c", known + "print(providers.names())", cwd=installed)
    assert python(installed, "-c", known + "print('tinyq' in known_vendors(), 'tinyq' in providers.names())") == (
        "True True\n"
    )


def test_profiles_of_another_package_take_no_name_away(installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed / "site", site)
    devices = site / "tinyq_qflows" / "devices"
    mine = (devices / "tinyq-one.yaml").read_text()
    (devices / "a.yaml").write_text(mine.replace("name: tinyq-one", "name: local-aer"))
    (devices / "b.yaml").write_text(mine.replace("name: tinyq-one", "name: other").replace(": tinyq\n", ": ionq\n"))
    (devices / "c.yaml").write_text("kind: device\nname: broken\nqubits: many\n")
    code = (
        "from qflows.core.profiles import shipped\n"
        "print(shipped()['local-aer'].provider, 'other' in shipped(), 'broken' in shipped(), 'tinyq-one' in shipped())"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site)) == "local False False True\n"


def test_qflows_has_no_line_about_the_vendor() -> None:
    files = [path for room in ("qflows", "blocks") for path in (ROOT / room).rglob("*") if path.is_file()]
    assert len(files) > 200
    assert [path for path in files if path.suffix != ".pyc" and b"tinyq" in path.read_bytes().lower()] == []
