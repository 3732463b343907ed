"""YAML documents as data, with the line of every key. Bounded, because documents come from other people.

Plain YAML only: no aliases, tags, merge keys or duplicate keys. What remains cannot grow beyond its text.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qflows.errors import DocumentError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_EVENTS = 20_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader needs a tenth of the time
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "timestamp"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """One mapping from one file. `lines`: the line, from 1, of each key and list item, by its place."""

    file: str
    body: Mapping[str, Any]
    lines: Mapping[Place, int] = field(repr=False)

    def line(self, place: Iterable[str | int]) -> int:
        """The line of a place, or of the nearest place above it that is in the text."""
        at = tuple(place)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)

    def error(self, place: Iterable[str | int], what: str) -> DocumentError:
        """The error for a place: file, line and key; never a value."""
        at = tuple(place)
        key = f", key {_shown('.'.join(map(str, at)))!r}" if at else ""
        return DocumentError(f"{self.file}, line {self.line(at)}{key}: {what}")


def invalid(document: Document, errors: Sequence[Any], known: Callable[[Place], Iterable[str]]) -> DocumentError:
    """The error for what pydantic says about a document: an unknown key first, because it may be the one that is
    missing under its right name. `known`: the keys that there are at the place of an unknown one."""
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    place: Place = tuple(first["loc"])
    if first["type"] == "extra_forbidden":
        return document.error(place, unknown_key(str(place[-1]), known(place)))
    if first["type"] == "missing":
        return document.error(place, "is missing; add it to the document")
    return document.error(place, str(first["msg"]).removeprefix("Value error, "))


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message about an unknown key."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"unknown key; {f'did you mean {near[0]!r}?' if near else 'there are ' + ', '.join(names)}"


def load(path: Path) -> Document:
    """The document in a file. Raises DocumentError naming file, line and key."""
    name = _shown(str(path))
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(f"{name}: {error.strerror or 'cannot be read'}") from None
    if len(raw) > MAX_BYTES:
        raise DocumentError(f"{name}: more than {MAX_BYTES} bytes; a document should have a few hundred")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise DocumentError(f"{name}: not UTF-8") from None
    return parse(text, name)


def parse(text: str, file: str) -> Document:
    """The document in a text. Raises DocumentError naming file, line and key."""
    # the parser's errors quote the text, which may hold a misplaced secret: use only their line
    try:
        _bound(text, file)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise DocumentError(f"{file}{where}: {_shown(str(problem))}") from None
    if not isinstance(node, MappingNode):
        raise DocumentError(f"{file}: a document must be a mapping of keys to values")
    lines: dict[Place, int] = {}
    return Document(file, _mapping(node, (), lines, file), lines)


def _bound(text: str, file: str) -> None:
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _at(event, file, "anchors and aliases are not supported; write the value out")
        if depth > MAX_DEPTH:
            raise _at(event, file, f"nested more than {MAX_DEPTH} deep")
        if number > MAX_EVENTS:
            raise _at(event, file, f"more than {MAX_EVENTS} values")


def _at(thing: Any, file: str, what: str) -> DocumentError:
    return DocumentError(f"{file}, line {thing.start_mark.line + 1}: {what}")


def _mapping(node: MappingNode, place: Place, lines: dict[Place, int], file: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _refuse_tag(node, "map", file)
    for key_node, value_node in node.value:
        key = _scalar(key_node, file) if isinstance(key_node, ScalarNode) else None
        if not isinstance(key, str):
            raise _at(key_node, file, "keys must be strings")
        if key in found:
            raise _at(key_node, file, f"key {_shown(key)!r} appears twice")
        lines[*place, key] = key_node.start_mark.line + 1
        found[key] = _value(value_node, (*place, key), lines, file)
    return found


def _value(node: Node, place: Place, lines: dict[Place, int], file: str) -> Any:
    if isinstance(node, MappingNode):
        return _mapping(node, place, lines, file)
    if isinstance(node, SequenceNode):
        _refuse_tag(node, "seq", file)
        for index, item in enumerate(node.value):
            lines[*place, index] = item.start_mark.line + 1
        return [_value(item, (*place, index), lines, file) for index, item in enumerate(node.value)]
    return _scalar(node, file)


def _refuse_tag(node: Node, kind: str, file: str) -> None:
    if node.tag != f"tag:yaml.org,2002:{kind}":
        raise _at(node, file, "tags are not supported")


def _scalar(node: Node, file: str) -> Any:
    if node.tag not in _PLAIN_TAGS:
        raise _at(node, file, "merge keys and tags are not supported")
    constructor = yaml.SafeLoader("")
    try:
        value = constructor.construct_object(node)
    except (yaml.YAMLError, ValueError):  # 2026-13-40, or a number of five thousand digits
        raise _at(node, file, "not a value") from None
    finally:
        constructor.dispose()
    if isinstance(value, float) and not math.isfinite(value):
        raise _at(node, file, "numbers must be finite")
    return value


def texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text below a value, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts(inner, (*place, index))


def _shown(text: str) -> str:
    """A document's text or name, safe on a terminal."""
    return _CONTROL.sub("�", text)[:200]
