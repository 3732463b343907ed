"""YAML as data: where things stand, and what is not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflows.core import documents
from qflows.errors import DocumentError


def test_every_key_and_item_has_its_line() -> None:
    document = documents.parse("a: 1\nb:\n  c: [1, {d: 2}]\n  e:\n    - x\n    - y\n", "f.yaml")
    assert document.body == {"a": 1, "b": {"c": [1, {"d": 2}], "e": ["x", "y"]}}
    assert document.line(["b", "c", 1, "d"]) == 3
    assert document.line(["b", "e", 1]) == 6


def test_place_that_was_not_written_has_the_line_of_the_nearest_above() -> None:
    document = documents.parse("# first\nfields:\n  a: 1\n", "f.yaml")
    assert str(document.error(["fields", "missing"], "is needed")) == (
        "f.yaml, line 2, key 'fields.missing': is needed"
    )


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: 1\nb: &x 1\nc: *x", 2, "aliases"),
        ("x: &a [&b [1], *b]", 1, "aliases"),
        ("a: 1\na: 2", 2, "twice"),
        ("ok: 1\na: !!python/object/apply:os.system [id]", 2, "tags"),
        ("a: !mine {}", 1, "tags"),
        ("a: !!binary aGk=", 1, "tags"),
        ("<<: {a: 1}", 1, "merge"),
        ("a: .nan", 1, "finite"),
        ("a: -.inf", 1, "finite"),
        ("a: 2026-13-40", 1, "not a value"),
        ("a: " + "9" * 5000, 1, "not a value"),
        ("? [1]\n: 2", 1, "strings"),
        ("1: 2", 1, "strings"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: 'open", 1, "unexpected end"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(DocumentError, match=why) as caught:
        documents.parse(text, "f.yaml")
    assert f"line {line}" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "just text", "[1, 2]"])
def test_document_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="mapping"):
        documents.parse(text, "f.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "a:\n" + " - " * 5_000])
def test_deep_nesting_is_refused_before_it_is_built(text: str) -> None:
    with pytest.raises(DocumentError, match=r"f\.yaml, line \d+: "):
        documents.parse(text, "f.yaml")


def test_too_many_values_are_refused() -> None:
    with pytest.raises(DocumentError, match="values"):
        documents.parse("a: [" + "1," * 30_000 + "]", "f.yaml")


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (documents.MAX_BYTES + 1))
    with pytest.raises(DocumentError, match="bytes"):
        documents.load(path)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Jörg".encode("latin-1"))
    with pytest.raises(DocumentError, match="UTF-8"):
        documents.load(path)


def test_error_of_the_parser_does_not_quote_the_text() -> None:
    with pytest.raises(DocumentError) as caught:
        documents.parse("api_key: 'CANARY\nb: [1", "f.yaml")
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_misspelt_key_is_answered_with_the_nearest() -> None:
    assert "'max_shots'" in documents.unknown_key("max_shot", ["max_shots", "qubits"])
    assert "qubits" in documents.unknown_key("zzz", ["max_shots", "qubits"])
