"""The description of an archive as an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): who, what, when, which software.

It is derived from the other members alone, so a reader can rebuild it and compare.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any

NAME = "ro-crate-metadata.json"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_SPEC = "https://w3id.org/ro/crate/1.1"
_SOFTWARE = "https://github.com/qflows/qflows"
_FOLDERS = {
    "programs/": "Programs by digest: canonical text (.json) and OpenQASM 3 (.qasm)",
    "plans/": "How counts of measurement circuits become expectation values, by digest",
    "answers/": "What the vendors answered, byte for byte, by job",
    "records/": "Rows of the ledger as JSON lines",
    "derived/": "Numbers that follow from the answers, as JSON lines",
    "tables/": "The same rows as Parquet files",
}


def describe(study: Mapping[str, Any], members: Mapping[str, tuple[int, str]]) -> bytes:
    """The text of `ro-crate-metadata.json`. `members`: size and SHA-256 by name."""
    files = [name for name in sorted(members) if not name.startswith(("programs/", "plans/", "answers/"))]
    folders = [folder for folder in _FOLDERS if any(name.startswith(folder) for name in study["folders"])]
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": study["name"],
        "description": study["description"],
        "datePublished": study["date"],
        "hasPart": [{"@id": name} for name in (*folders, *files)],
        "mentions": {"@id": "#qflows"},
    }
    graph: list[dict[str, Any]] = [
        {
            "@id": NAME,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _SPEC},
            "about": {"@id": "./"},
        },
        root,
        {
            "@id": "#qflows",
            "@type": "SoftwareApplication",
            "name": "qflows",
            "url": _SOFTWARE,
            "softwareVersion": study["versions"]["qflows"],
        },
    ]
    if author := study.get("author"):
        root["author"] = {"@id": "#author"}
        graph.append({"@id": "#author", "@type": "Person", "name": author})
    if license_ := study.get("license"):
        root["license"] = {"@id": license_}
        graph.append({"@id": license_, "@type": "CreativeWork", "name": license_})
    graph += [{"@id": folder, "@type": "Dataset", "name": _FOLDERS[folder]} for folder in folders]
    for name in files:
        size, digest = members[name]
        graph.append(
            {
                "@id": name,
                "@type": "File",
                "name": name.rpartition("/")[2],
                "encodingFormat": _format(name),
                "contentSize": str(size),
                "sha256": digest,
            }
        )
    return _json({"@context": [_CONTEXT, {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}], "@graph": graph})


def _format(name: str) -> str:
    if name.endswith(".jsonl"):
        return "application/jsonl"
    if name.endswith(".parquet"):
        return "application/vnd.apache.parquet"
    return mimetypes.types_map.get("." + name.rpartition(".")[2], "application/octet-stream")


def _json(value: Mapping[str, Sequence[Any]]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode("ascii")
