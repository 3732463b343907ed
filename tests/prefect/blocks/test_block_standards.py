"""Prefect's block standards on every block type that qflows registers, and where types come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite

from qflows import providers
from qflows.core import profiles
from qflows.prefect.blocks import collection
from qflows.prefect.blocks.device import DeviceProfileBlock

TYPES = collection.BLOCK_TYPES


@pytest.mark.parametrize("block", TYPES.values(), ids=TYPES.keys())
class TestEveryBlock(BlockStandardTestSuite):
    """Prefect's suite; the type comes from the parameter."""

    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return request.param

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        # the suite would fetch it, and tests do not leave this machine: the size is asked for in the address
        url = urlsplit(str(block._logo_url))
        assert url.scheme == "https"
        assert 45 < int(parse_qs(url.query)["s"][0]) < 1000

    def test_has_name_and_slug_of_qflows(self, block: type[Block]) -> None:
        assert block.get_block_type_name().startswith("qflows ")
        assert block.get_block_type_slug().startswith("qflows-")

    def test_has_no_field_that_prefect_or_a_form_would_trip_over(self, block: type[Block]) -> None:
        for name, field in block.model_fields.items():
            assert not name.startswith("_")
            assert (field.title or name)[0].isalpha()
            assert "`" not in (field.title or "")


def test_every_vendor_but_the_local_one_has_credentials() -> None:
    found = {slug for slug, kind in TYPES.items() if issubclass(kind, CredentialsBlock)}
    assert found == {f"qflows-{name}-credentials" for name in providers.names() if name != "local"}


def test_device_block_has_the_fields_of_a_profile_but_its_name() -> None:
    fields = DeviceProfileBlock.model_fields
    assert set(fields) == set(profiles.DeviceProfile.model_fields) - {"kind", "name"}
    for name, field in fields.items():
        assert field.annotation == profiles.DeviceProfile.model_fields[name].annotation
        assert field.default == profiles.DeviceProfile.model_fields[name].default


def run_python(code: str, *, path: Path | None = None) -> str:
    """Output of a fresh interpreter, with `path` in front of its search path."""
    start = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_importing_qflows_loads_neither_prefect_nor_a_vendor() -> None:
    code = "import sys, qflows; dir(qflows); print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = run_python(code)
    for heavy in ("prefect", "qiskit", "boto3", "braket", "qbraid", "numpy"):
        assert f"'{heavy}'" not in loaded


def test_verbs_and_lists_load_no_numerics() -> None:
    """Listing jobs or importing a flow module needs no arrays; they cost a fifth of a second of CPU."""
    lists = "import sys; from qflows.cli import jobs; import qflows.core.lists; print('numpy' in sys.modules)"
    assert run_python(lists).splitlines()[-1] == "False"
    verbs = "import sys, qflows; qflows.submit, qflows.batch, qflows.jobs; print('numpy' in sys.modules)"
    assert run_python(verbs).splitlines()[-1] == "False"


def test_prefect_finds_the_types_and_still_no_vendor_is_loaded() -> None:
    code = (
        "import sys\n"
        "from prefect.blocks.core import Block\n"
        "print(Block.get_block_class_from_key('qflows-ionq-credentials').__module__)\n"
        "import qflows\n"
        "print([name for name in dir(qflows) if name.endswith(('Credentials', 'Block'))])\n"
        "print([m for m in ('qiskit', 'qiskit_ibm_runtime', 'boto3', 'braket', 'qbraid') if m in sys.modules])\n"
    )
    module, names, heavy = run_python(code).splitlines()[-3:]
    assert module == "qflows.prefect.blocks.collection"
    for kind in TYPES.values():
        assert f"'{kind.__name__}'" in names
    assert heavy == "[]"


def _install(folder: Path, name: str, credentials: str) -> None:
    """A distribution with a vendor of its own, as another package would bring it."""
    package = folder / f"{name}_qflows"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "adapter.py").write_text("raise ImportError('the SDK is loaded on first use only')\n")
    (package / "credentials.py").write_text(credentials)
    info = folder / f"{name}_qflows-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-qflows\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[qflows.providers]\n{name} = {name}_qflows.adapter:connect\n")


def test_another_packages_vendor_brings_its_block_and_a_broken_one_takes_none_away(tmp_path: Path) -> None:
    _install(
        tmp_path,
        "acme",
        "from qflows.protocol import VendorCredentials\n"
        "class AcmeCredentials(VendorCredentials):\n"
        "    'An account at Acme.'\n"
        "    vendor = 'acme'\n"
        "    title = 'Acme Credentials'\n"
        "    logo_url = 'https://acme.example/logo.png'\n"
        "    documentation_url = 'https://acme.example'\n"
        "    key: str\n",
    )
    _install(tmp_path, "broken", "import a_package_that_is_not_there\n")
    printed = run_python(
        "from prefect.blocks.core import Block\n"
        "print(Block.get_block_class_from_key('qflows-acme-credentials'))\n"
        "print(Block.get_block_class_from_key('qflows-ionq-credentials'))\n",
        path=tmp_path,
    )
    assert "collection.AcmeCredentials" in printed
    assert "IonQCredentials" in printed
    assert "credentials block of broken cannot be imported" in printed
