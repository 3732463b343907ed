"""From the raw documents of a finished job to its result. Pure: no I/O, the same answer for the same bytes.

Documents: `results` (text of GET /jobs/{id}/results), `metrics` (GET /jobs/{id}/metrics) and `submission`, our own note
of what was compiled, JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qflows.errors import ProviderError, Unreadable
from qflows.model import Cost, ItemResult
from qflows.protocol import JobSpec, RawAnswer, VendorResult
from qflows.providers.ibm import layout, options, wire
from qflows.providers.ibm.layout import Sheet

RESULTS, METRICS, SUBMISSION = "results", "metrics", "submission"


def decode(raw: RawAnswer, spec: JobSpec) -> VendorResult:
    """Counts or expectation values by program, times and QPU seconds. Raises Unreadable, keeping the text."""
    text = raw.documents.get(RESULTS, b"").decode("utf-8", "replace")
    try:
        return _decoded(text, raw, spec)
    except ProviderError:
        raise
    except Exception as error:  # noqa: BLE001  (decoder boundary: any error from a body stays with this job)
        raise Unreadable(
            f"ibm: a result that cannot be read ({type(error).__name__}: {str(error)[:200]})",
            provider="ibm",
            body=text[: wire.BODY_CAP],
        ) from None


def _decoded(text: str, raw: RawAnswer, spec: JobSpec) -> VendorResult:
    metrics, record = (_document(raw, name) for name in (METRICS, SUBMISSION))
    pubs, about = _pubs(text)
    if "imported" in spec.options:
        from qflows.providers.ibm import imports

        sheets, items = [], imports.items_of(pubs, spec)
    else:
        sheets, items = _items(text, pubs, spec)
    for sheet, summary in zip(sheets, record.get("compiled") or [], strict=False):
        for index in sheet.indices:
            items[index].metadata["compiled"] = summary  # pyright: ignore[reportIndexIssue]
    times, usage = _member(metrics, "timestamps"), _member(metrics, "usage")
    qpu_s = wire.seconds(usage.get("qpu_charge_time_seconds"))
    return VendorResult(
        items=tuple(items),
        cost=Cost(qpu_s, "qpu_s", usage.get("status") != "complete") if qpu_s is not None else None,
        started_at=wire.moment(times.get("running")),
        finished_at=wire.moment(times.get("finished")),
        qpu_s=qpu_s,
        metadata={
            "target": record.get("target"),
            "metrics": wire.plain(metrics),
            "program": program_id(spec),
            **about,
        },
        steps=wire.steps(times, ("created", "running", "finished")),
    )


def program_id(spec: JobSpec) -> str:
    """The IBM program that runs this job."""
    if spec.options.get("primitives") == "executor":
        return "executor"
    return "estimator" if any(spec.observables) else "sampler"


def _document(raw: RawAnswer, name: str) -> Mapping[str, Any]:
    """A side document; an unreadable one must not cost counts."""
    try:
        found = json.loads(raw.documents.get(name, b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _member(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _pubs(text: str) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """Fields by PUB, and what is said of the job as a whole."""
    # by its form, not by the options: the default at submission does not matter
    if '"semantic_role"' not in text:
        return wire.pub_results(text)
    from qflows.providers.ibm import executor

    return executor.pub_results(text)


def _items(text: str, pubs: list[Mapping[str, Any]], spec: JobSpec) -> tuple[list[Sheet], list[ItemResult]]:
    """Sheets as they were sent, and items by program."""
    sheets = next((one for one in (layout.sheets(spec), layout.singles(spec)) if len(one) == len(pubs)), None)
    if sheets is None:
        raise Unreadable(
            f"ibm returned {len(pubs)} results where {len(spec.programs)} programs were sent",
            provider="ibm",
            body=text[: wire.BODY_CAP],
        )
    found: dict[int, ItemResult] = {}
    for sheet, fields in zip(sheets, pubs, strict=True):
        found |= zip(sheet.indices, _items_of(sheet, fields, spec), strict=True)
    return sheets, [found[index] for index in range(len(spec.programs))]


def _items_of(sheet: Sheet, fields: Mapping[str, Any], spec: JobSpec) -> list[ItemResult]:
    if any(spec.observables):
        n_observables = len(spec.observables_of(sheet.indices[0]))
        return wire.expectations_items(fields, len(sheet.indices), n_observables)
    return wire.counts_items(
        [spec.programs[index] for index in sheet.indices],
        fields,
        shots=spec.shots,
        with_memory=spec.options.get("memory") is not False,
        is_twirled=options.is_twirled(spec.options),
    )
