"""Block documents put in place: YAML files become Prefect blocks, and a second time changes nothing.

`device` is a device profile. `rule` chooses one. `budget` is a limit on what is spent. `credentials` fills a
credentials block of any installed vendor, `notification` a block of Prefect's own that tells somebody, and `automation`
says what is told or done when. Secrets are `${NAME}` in the file and are taken from the environment at the last moment.
No outcome, error or log has a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import httpx
from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.types import Secret
from pydantic_core import to_jsonable_python

from qflows.core import budgets, documents, profiles
from qflows.core.budgets import BudgetFields
from qflows.core.documents import Document, Place
from qflows.core.profiles import DeviceFields
from qflows.errors import DocumentError, NotSent, PrefectMissing
from qflows.prefect.blocks import automations
from qflows.prefect.blocks.automations import NOTIFIERS, Recipe
from qflows.prefect.blocks.budget import BudgetBlock
from qflows.prefect.blocks.collection import BLOCK_TYPES
from qflows.prefect.blocks.device import BLOCK_NAME, DeviceProfileBlock, DeviceRuleBlock

MAX_FILES = 1_000
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KINDS = ("automation", "budget", "credentials", "device", "notification", "rule")
_CREDENTIALS_KEYS = ("kind", "name", "block", "description", "fields")
_SECRETS = (SecretStr, SecretBytes, Secret)


class Action(StrEnum):
    """What became of a document, or would become of it in a dry run."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CHECKED = "checked"  # read without fault; there is no API to compare with
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One document. `block` is type/name; `fields` names what differed; `note` is an error or a warning."""

    file: str
    block: str
    action: Action
    fields: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document read to the end: the block or automation it asks for, secrets resolved."""

    file: str
    name: str
    block: Block | Recipe

    @property
    def reference(self) -> str:
        """Type and name, as `Block.load` takes them; `automation/NAME` for a recipe."""
        if isinstance(self.block, Recipe):
            return f"automation/{self.name}"
        return f"{self.block.get_block_type_slug()}/{self.name}"

    @property
    def credentials(self) -> str | None:
        """The credentials block that a device names."""
        return self.block.credentials if isinstance(self.block, DeviceProfileBlock) else None

    @property
    def rank(self) -> int:
        """What names others comes after them."""
        return 2 if isinstance(self.block, Recipe) else int(isinstance(self.block, DeviceProfileBlock))


def apply(paths: Sequence[Path], environment: Mapping[str, str]) -> list[Outcome]:
    """Saves every document below `paths` as a block; one that fails does not stop the others.

    Credentials and notifications come first, because devices and automations name them. Raises DocumentError when there
    is nothing to read, PrefectMissing without an API, NotSent if it cannot be reached.
    """
    if not PREFECT_API_URL.value():
        raise PrefectMissing(
            "blocks are stored by a Prefect server, and no API is configured: `prefect server start`, then set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api; --dry-run checks documents without one"
        )
    return _go_through(paths, environment, is_wet=True)


def check(paths: Sequence[Path], environment: Mapping[str, str]) -> list[Outcome]:
    """What `apply` would do; writes nothing. Without an API the documents are read and not compared."""
    return _go_through(paths, environment, is_wet=False)


def _go_through(paths: Sequence[Path], environment: Mapping[str, str], *, is_wet: bool) -> list[Outcome]:
    wanted, outcomes = _read_all(find_documents(paths), environment)
    if not PREFECT_API_URL.value():
        return outcomes + [Outcome(one.file, one.reference, Action.CHECKED) for one in wanted]
    with _reaching_the_api(), get_client(sync_client=True) as api:
        coming = {one.reference for one in wanted}
        done = [_settle(api, one, coming, is_wet=is_wet) for one in wanted]
        there = {outcome.block for outcome in done if outcome.action is not Action.FAILED}
        for one, outcome in zip(wanted, done, strict=True):
            outcomes.append(_with_warning(api, one, outcome, there))
    return outcomes


def find_documents(paths: Sequence[Path]) -> list[Path]:
    """The YAML files named, and those below the folders named. Raises DocumentError for a path without any.

    A relative path that is not here is looked for among the documents that ship: `notifications/mail.yaml`.
    """
    found: dict[Path, None] = {}
    for named in paths:
        path = named if named.exists() or ".." in named.parts else profiles.documents_folder() / named
        if path.is_dir():
            inside = [p for kind in ("*.yaml", "*.yml") for p in path.rglob(kind) if p.is_file()]
        else:
            inside = [path] if path.is_file() else []
        if not inside:
            raise DocumentError(
                f"{named}: no YAML documents found; give the path of a .yaml file or of a folder of them"
            )
        found.update(dict.fromkeys(sorted(inside)))
    if len(found) > MAX_FILES:
        raise DocumentError(f"{len(found)} documents; the limit is {MAX_FILES}")
    return list(found)


def _read_all(paths: Sequence[Path], environment: Mapping[str, str]) -> tuple[list[Wanted], list[Outcome]]:
    wanted: dict[str, Wanted] = {}
    failed: list[Outcome] = []
    for path in paths:
        try:
            one = read(path, environment)
            twin = wanted.get(one.reference)
            if twin is not None:
                raise DocumentError(f"{path}: {one.reference} is already described in {twin.file}")
        except DocumentError as error:
            failed.append(Outcome(str(path), "", Action.FAILED, note=str(error)))
        else:
            wanted[one.reference] = one
    return sorted(wanted.values(), key=lambda one: one.rank), failed


def read(path: Path, environment: Mapping[str, str]) -> Wanted:
    """The block that a document asks for. Raises DocumentError naming file, line and key, never a value."""
    document = documents.load(path)
    kind, name = document.body.get("kind"), document.body.get("name")
    if kind not in _KINDS:
        raise document.error(["kind"], f"choose from the kinds {', '.join(_KINDS)}")
    if name is None:
        near = next((key for key in document.body if key not in ("kind", "fields") and key[:1] == "n"), None)
        said = f"; is {near!r} meant?" if near else ""
        raise document.error(["name"], f"missing: give the document a name of a-z, 0-9 and single dashes{said}")
    if not isinstance(name, str) or not BLOCK_NAME.fullmatch(name):
        raise document.error(["name"], "a block name consists of a-z, 0-9 and single dashes")
    return Wanted(str(path), name, _block(kind, document, environment))


def _block(kind: str, document: Document, environment: Mapping[str, str]) -> Block | Recipe:
    if kind == "automation":
        return automations.read(document)
    if kind == "budget":
        return _budget(document)
    if kind == "device":
        return _device(document)
    if kind == "rule":
        made = profiles.rule_from_document(document)
        return DeviceRuleBlock(description=made.description, rule=made.rule)
    if kind == "notification":
        return _filled(document, NOTIFIERS, environment)
    vendors = {slug: found for slug, found in BLOCK_TYPES.items() if issubclass(found, CredentialsBlock)}
    return _filled(document, vendors, environment)


def _budget(document: Document) -> BudgetBlock:
    fields = budgets.from_document(document)
    return BudgetBlock(**{name: getattr(fields, name) for name in BudgetFields.model_fields})


def _device(document: Document) -> DeviceProfileBlock:
    for place, text in documents.texts(document.body):
        if "${" in text:
            raise document.error(place, "variables are not allowed in devices, only in the fields of credentials")
    profile = profiles.from_document(document)
    return DeviceProfileBlock(**{name: getattr(profile, name) for name in DeviceFields.model_fields})


def _filled(document: Document, kinds: Mapping[str, type[Block]], environment: Mapping[str, str]) -> Block:
    for key in document.body:
        if key not in _CREDENTIALS_KEYS:
            raise document.error([key], documents.unknown_key(key, _CREDENTIALS_KEYS))
    kind = kinds.get(str(document.body.get("block")))
    if kind is None:
        raise document.error(["block"], f"choose from the types {', '.join(kinds)}")
    fields = document.body.get("fields")
    if not isinstance(fields, dict):
        raise document.error(["fields"], "must be a mapping with the fields of the block")
    for key, value in fields.items():
        if key not in kind.model_fields:
            raise document.error(["fields", key], documents.unknown_key(key, kind.model_fields))
        if _is_secret(kind.model_fields[key].annotation) and not _is_variable(value):
            raise document.error(["fields", key], "a document must not contain a secret; write ${NAME_OF_A_VARIABLE}")
    values = _resolved(document, fields, environment)
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where, what = first["loc"], first["msg"]
        if first["type"] == "missing":
            what = "is missing; add it to the document"
    except (TypeError, ValueError) as error:  # notifications check their fields so, and quote them
        where, what = (), f"{kind.get_block_type_slug()} does not take these values ({type(error).__name__})"
    raise document.error(["fields", *where], what)  # out here: the error it came from has the values


def _is_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, _SECRETS):
        return True
    return any(_is_secret(inner) for inner in get_args(annotation))


def _is_variable(value: Any) -> bool:
    return isinstance(value, str) and _VARIABLE.fullmatch(value) is not None


def _resolved(document: Document, fields: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """`fields` with each `${NAME}` replaced. Raises DocumentError naming every variable that is not set."""
    used: dict[str, Place] = {}
    for place, text in documents.texts(fields):
        if match := _VARIABLE.fullmatch(text):
            used.setdefault(match[1], place)
        elif "${" in text:
            raise document.error(["fields", *place], "a variable must be the whole value: ${NAME}")
    missing = [name for name in used if not environment.get(name, "").strip()]
    if missing:
        raise document.error(
            ["fields", *used[missing[0]]],
            f"not set in the environment: {', '.join(missing)}; export it and apply again",
        )

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: resolve(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [resolve(inner) for inner in value]
        match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
        return environment[match[1]].strip() if match else value  # files leave a newline behind, keys have none

    return resolve(dict(fields))


def _settle(api: SyncPrefectClient, one: Wanted, coming: set[str], *, is_wet: bool) -> Outcome:
    """Compares with what is saved, and saves what differs. `coming`: all that the command saves."""
    try:
        if isinstance(one.block, Recipe):
            found = automations.settle(api, one.block, coming, is_wet=is_wet)
            if found.missing:
                return Outcome(one.file, one.reference, Action.FAILED, note=f"{one.file}: {found.missing}")
            saved, differing = found.was_there, list(found.differing)
        else:
            saved, differing = _settle_block(api, one.name, one.block, is_wet=is_wet)
        if saved and not differing:
            return Outcome(one.file, one.reference, Action.UNCHANGED)
    except httpx.HTTPStatusError as error:  # its body may quote what was sent
        answer = error.response.status_code
    else:
        return Outcome(one.file, one.reference, Action.UPDATED if saved else Action.CREATED, tuple(differing))
    return Outcome(one.file, one.reference, Action.FAILED, note=f"the Prefect API answered {answer}")


def _settle_block(api: SyncPrefectClient, name: str, block: Block, *, is_wet: bool) -> tuple[bool, list[str]]:
    """Whether it was there, and the fields that differed."""
    saved = _saved(api, name, block)
    differing = _differing(block, saved.data) if saved else []
    if is_wet and (saved is None or differing):
        _save(api, name, block, saved)
    return saved is not None, differing


def _saved(api: SyncPrefectClient, name: str, block: Block) -> BlockDocument | None:
    try:
        return api.read_block_document_by_name(name, block.get_block_type_slug(), include_secrets=True)
    except ObjectNotFound:
        return None


def _save(api: SyncPrefectClient, name: str, block: Block, saved: BlockDocument | None) -> None:
    """One request, and a few more for the first block of a type.

    Not `Block.save`: it merges into what is there, so a key of an older version would stay, and it builds
    the type's schema some thirty times a block.
    """
    type_id, schema_id = _registered(type(block), str(api.api_url))
    data = _plain(block)
    if saved is not None:
        update = BlockDocumentUpdate(block_schema_id=schema_id, data=data, merge_existing_data=False)
        api.update_block_document(saved.id, update)
        return
    api.create_block_document(
        BlockDocumentCreate(name=name, data=data, block_schema_id=schema_id, block_type_id=type_id)
    )


@cache
def _registered(kind: type[Block], api_url: str) -> tuple[UUID, UUID]:
    """Ids of a type and its schema at an API, registered there once a process."""
    kind.register_type_and_schema(_sync=True)  # pyright: ignore[reportCallIssue]
    type_id, schema_id = kind._block_type_id, kind._block_schema_id
    assert type_id is not None
    assert schema_id is not None
    return type_id, schema_id


def _differing(block: Block, saved: Mapping[str, Any]) -> list[str]:
    """Names of fields whose saved value is another, and of saved fields that the type no longer has."""
    kind = type(block)
    try:
        there = _plain(kind(**{key: value for key, value in saved.items() if key in kind.model_fields}))
    except ValidationError:
        there = saved
    wanted = _plain(block)
    return sorted(
        [key for key in wanted if there.get(key) != wanted[key]] + [key for key in saved if key not in wanted]
    )


def _plain(value: Any) -> Any:
    """As JSON, secrets in clear: for comparing and for sending, never for showing."""
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, _SECRETS):
        return _plain(value.get_secret_value())
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return to_jsonable_python(value)


def _with_warning(api: SyncPrefectClient, one: Wanted, outcome: Outcome, there: set[str]) -> Outcome:
    """Says so when a device names credentials that are not saved."""
    named = one.credentials
    if named is None or named in there or outcome.action is Action.FAILED:
        return outcome
    slug, _, name = named.partition("/")
    try:
        api.read_block_document_by_name(name, slug, include_secrets=False)
    except ObjectNotFound:
        note = f"its credentials {named} are not saved yet"
        return Outcome(outcome.file, outcome.block, outcome.action, outcome.fields, note)
    return outcome


@contextmanager
def _reaching_the_api() -> Iterator[None]:
    """Turns the error of an unreachable server into NotSent, without the request, which may hold secrets."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError, ValueError) as error:
        # RuntimeError: what Prefect makes of some; ValueError: an answer that is not Prefect's
        if isinstance(error, httpx.TransportError):
            raise NotSent(
                f"the Prefect API at {PREFECT_API_URL.value()} cannot be reached ({type(error).__name__}); start "
                "it, for example with `qflows up`, or correct PREFECT_API_URL, and apply again; what was saved stays",
                provider="prefect",
            ) from None
        raise NotSent(
            f"the Prefect API at {PREFECT_API_URL.value()} did not give a usable answer "
            f"({type(error).__name__}); apply again, what was saved stays",
            provider="prefect",
        ) from None
