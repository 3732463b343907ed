"""OpenQASM 2 and 3 text to a qiskit circuit. The text is untrusted: it is bounded before any parser sees it.

Both parsers recurse and both expand registers and definitions eagerly somewhere, so size, nesting, declared bits and
the work hidden in gate definitions are limited here; neither may read another file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from qflows.errors import ProgramRejected
from qflows.programs.from_qiskit import BUILDER_ERRORS, MAX_STEPS

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

MAX_QASM_BYTES = 4 * 1024 * 1024
MAX_DECLARED_BITS = 4096
MAX_BRACKET_DEPTH = 64
MAX_OPERATORS = 200
"""Arithmetic signs in one statement; the parser of OpenQASM 2 recurses in native code, where an overflow kills."""
MAX_GATE_DEFINITIONS = 10_000

_HEAD, _NAME = 4096, 40
_COMMENT = re.compile(r"//([^\n]*)|/\*(.*?)\*/", re.DOTALL)
_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"[^"\n]*"', re.DOTALL)
_VERSION = re.compile(r"\s*OPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_BRAKET = re.compile(r"^\s*#?pragma\s+braket\b", re.MULTILINE)
_DECLARED2 = re.compile(r"\b[qc]reg\b[^;\[]*\[\s*(\d+)\s*\]")
_GATE2 = re.compile(r"\b(?:gate|opaque)\s+(\w+)")


def read_qasm(source: str | Path) -> tuple[QuantumCircuit, str]:
    """Circuit of OpenQASM text or of the file so named, and a label. Raises ProgramRejected with line and column."""
    text, label = text_of(source)
    code = check_text(text, label)
    version = _VERSION.match(code)
    if version is None and not re.search(r"\b(qreg|qubit)\b", code):
        if isinstance(source, str) and re.fullmatch(r"[^\n;]+\.(?:qasm\d?|txt|inc)", source.strip()):
            _refuse(label, f"there is no file {source!r} in {Path.cwd()}", "give the path of an OpenQASM 2 or 3 file")
        shown = repr(text if len(text) <= 80 else text[:80] + "...")
        _refuse(label, f"{shown} is neither OpenQASM text nor a file", "begin the text with OPENQASM 2.0; or 3.0;")
    number = int(version[1][:4]) if version else (2 if re.search(r"\bqreg\b", code) else 3)
    if number == 2:
        return _parse_2(text, code, label), label
    if number != 3:
        _refuse(label, f"OpenQASM {number} is unknown", "write OPENQASM 2.0; or OPENQASM 3.0;")
    from qflows.programs.qasm3 import parse_3

    return parse_3(text, label), label


def text_of(source: str | Path) -> tuple[str, str]:
    """The text, or that of the file so named, and a label. Raises ProgramRejected for a file that cannot be read."""
    path = _as_path(source)
    text = _read_file(path) if path is not None else str(source)
    return text, path.stem if path is not None else name_of(text)


def is_brakets(text: str) -> bool:
    """Whether the text has Braket's pragmas, so that gates have Braket's names and boxes may be verbatim."""
    return len(text) <= MAX_QASM_BYTES and _BRAKET.search(_NOISE.sub(" ", text)) is not None


def check_text(text: str, label: str) -> str:
    """The text without comments and strings. Raises ProgramRejected for one that is too long or too deeply nested."""
    if len(text) > MAX_QASM_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_QASM_BYTES:
        _refuse(label, f"the text is longer than {MAX_QASM_BYTES} bytes", "split the circuit")
    code = _NOISE.sub(" ", text)
    _check_shape(code, label)
    return code


def name_of(text: str) -> str:
    """A name for a circuit given as text: its first comment if that is short, otherwise its registers."""
    head = text[:_HEAD]
    for comment in _COMMENT.finditer(head):
        words = re.sub(r"[^\w.+-]+", "-", comment[1] or comment[2] or "").strip("-")
        if 0 < len(words) <= _NAME and re.search(r"[^\W\d]", words):
            return words
    declared = [f"{name}{size}" for name, size in _sized(_NOISE.sub(" ", head))]
    return "-".join(declared[:4])[:_NAME] or "circuit"


def _sized(code: str) -> list[tuple[str, str]]:
    old = [(m[1], m[2]) for m in re.finditer(r"\b[qc]reg\s+(\w+)\s*\[\s*(\d{1,6})\s*\]", code)]
    new = [(m[2], m[1] or "") for m in re.finditer(r"\b(?:qu)?bit\s*(?:\[\s*(\d{1,6})\s*\])?\s+(\w+)\s*;", code)]
    return old + new


def _refuse(label: str, why: str, remedy: str) -> NoReturn:
    raise ProgramRejected(f"program {label!r}: {why}; {remedy}")


def _as_path(source: str | Path) -> Path | None:
    """The file meant by `source`, None if it is program text."""
    if isinstance(source, Path):
        return source
    if len(source) > 4096 or any(sign in source for sign in ";\n\0"):
        return None
    path = Path(source)
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _read_file(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe or device may never end
            kind = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
            _refuse(path.name, f"{path} {kind}", "give the path of an OpenQASM file")
        with path.open("rb") as stream:
            body = stream.read(MAX_QASM_BYTES + 1)
    except OSError as error:
        raise ProgramRejected(f"program {path.name!r}: cannot be read ({error.strerror}); check the path") from error
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProgramRejected(f"program {path.name!r}: not UTF-8 text ({error}); save it as UTF-8") from error


def _check_shape(code: str, label: str) -> None:
    """Refuse nesting and expressions deep enough to exhaust a recursive parser. `code` has no comments or strings."""
    depth = 0
    for bracket in re.finditer(r"[(\[{)\]}]", code):
        depth += 1 if bracket[0] in "([{" else -1
        if depth > MAX_BRACKET_DEPTH:
            line = code.count("\n", 0, bracket.start()) + 1
            _refuse(label, f"brackets are nested more than {MAX_BRACKET_DEPTH} deep near line {line}", "simplify it")
    for statement in re.split(r"[;{}]", code):
        if len(re.findall(r"[-+*/^~!%<>&|=]", statement)) > MAX_OPERATORS:
            start = statement.strip()[:40]
            _refuse(label, f"one statement has over {MAX_OPERATORS} operators ({start!r}...)", "evaluate it first")


def _parse_2(text: str, code: str, label: str) -> QuantumCircuit:
    """Circuit of OpenQASM 2 text. Includes other than qelib1.inc are refused by the empty search path."""
    from qiskit import qasm2

    _check_steps(code, label)
    declared = [size.lstrip("0") for size in _DECLARED2.findall(code)]
    check_declared_bits([int(size or 0) if len(size) < 10 else MAX_DECLARED_BITS + 1 for size in declared], label)
    own = set(_GATE2.findall(code))
    if len(own) > MAX_GATE_DEFINITIONS:
        _refuse(label, f"it defines more than {MAX_GATE_DEFINITIONS} gates", "flatten it")
    # qiskit's own spelling would win over a definition of that name in the text; here the text is right
    known = [gate for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if gate.name not in own]
    try:
        return qasm2.loads(
            text,
            include_path=(),
            custom_instructions=known,
            custom_classical=qasm2.LEGACY_CUSTOM_CLASSICAL,
        )
    except qasm2.QASM2ParseError as error:
        # "<input>:LINE,COLUMN: reason"
        why = re.sub(r"^['\"]?<input>:(\d+),(\d+):", r"line \1, column \2:", str(error).strip("'\""))
        raise ProgramRejected(f"program {label!r}: OpenQASM 2 {why:.400}; correct the text") from error
    except BUILDER_ERRORS as error:
        raise ProgramRejected(
            f"program {label!r}: OpenQASM 2 text cannot be built ({type(error).__name__}: {error!s:.300}); correct it"
        ) from error


def _check_steps(code: str, label: str) -> None:
    """Refuse statements on whole registers that make more steps than a circuit may have."""
    width = {name: int(size) for name, size in re.findall(r"\bqreg\s+(\w+)\s*\[\s*(\d{1,9})\s*\]", code)}
    steps = 0
    for statement in code.split(";"):
        operands = re.sub(r"^[^()]*\(.*\)|^\s*\w+", " ", statement, count=1, flags=re.DOTALL)
        steps += max((width.get(name, 1) for name in re.findall(r"(\w+)(?!\s*[\w\[])", operands)), default=1)
        if steps > MAX_STEPS:
            _refuse(label, f"it expands to more than {MAX_STEPS} steps", "split it")


def check_declared_bits(sizes: list[int], label: str) -> None:
    """Refuse declarations of more bits than any device has: `qreg q[1000000000];` is 22 bytes and fills the memory."""
    if sum(sizes) > MAX_DECLARED_BITS:
        _refuse(label, f"it declares more than {MAX_DECLARED_BITS} bits", "declare only the bits it uses")
