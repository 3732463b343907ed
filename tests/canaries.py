"""Credentials that no other test knows, and where they are looked for."""

from __future__ import annotations

import base64
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from qflows.ledger import Ledger, raws

AWS_ID = "AWS_ACCESS_KEY_ID"


def credentials(variables: Iterable[str]) -> dict[str, str]:
    """One canary a variable, with characters that every notation writes in its own way."""
    made = {name: f"canary+{uuid.uuid4().hex}/{uuid.uuid4().hex}" for name in variables}
    if AWS_ID in made:
        made[AWS_ID] = f"AKIA{uuid.uuid4().hex.upper()}"  # a slash would end it in the header
    return made


def forms(secret: str) -> list[bytes]:
    """Notations of a secret: plain, of a URL, in hexadecimal, and inside Base64 at each of its three places."""
    data = secret.encode()
    cores = [base64.b64encode(b"x" * before + data)[4:-4] for before in range(3)]
    return [data, quote(secret, safe="").encode(), data.hex().encode(), *cores]


def found_in(secrets: Iterable[str], text: str | bytes) -> list[str]:
    """Notations of secrets that a text or a file shows."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return [form.decode() for secret in secrets for form in forms(secret) if form in data]


def ledger_bytes(ledger: Ledger) -> Iterator[bytes]:
    """The files of an SQLite ledger, every row as text, and the answers that it keeps, unpacked."""
    path = Path(ledger.engine.url.database or "")
    yield from (one.read_bytes() for one in path.parent.glob(path.name + "*"))
    with ledger.read() as connection:
        for table in sa.inspect(ledger.engine).get_table_names():
            yield from (repr(tuple(row)).encode() for row in connection.execute(sa.text(f'select * from "{table}"')))
        keys = connection.execute(sa.text("select job_key from raw_answers")).scalars().all()
    for answer in raws.of(ledger, keys).values():
        yield from answer.documents.values()


def archive_bytes(path: Path) -> Iterator[bytes]:
    """An archive as it is, and each of its members, unpacked as far as they are packed."""
    yield path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield archive.read(name)
            if name.endswith(".parquet"):
                import pyarrow.parquet

                with archive.open(name) as member:
                    yield repr(pyarrow.parquet.read_table(member).to_pylist()).encode()
