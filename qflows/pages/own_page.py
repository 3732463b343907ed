"""The page of any run that bought something: title, what happened, what to do, results, jobs. Knows no Prefect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qflows.ledger import reads
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.pages import choices, run_page
from qflows.pages.text import code, escape, shots_text
from qflows.states import JobStatus


def compose(
    ledger: Ledger, jobs: Sequence[Job], title: str, note: str = "", links: Mapping[str, str] | None = None
) -> str:
    """Markdown of a run's jobs, oldest first. `note` is the user's own text and stays Markdown."""
    ordered = sorted(jobs, key=lambda job: job.created_at)
    keys = ", ".join(code(key) for key in dict.fromkeys(job.run_key for job in ordered))
    page = [f"# {escape(title)}", *([note] if note else []), run_page.summary(ordered), f"run key {keys}"]
    page += run_page.next_steps(ordered)
    done = [job for job in ordered if job.status is JobStatus.COMPLETED]
    plots: list[run_page.Histogram] = []
    values = []
    for job in done[: run_page.PLOTS]:
        for index, item in enumerate(reads.items(ledger, job.key)):
            name = job.name if job.n_programs == 1 else f"{job.name} [{index}]"
            if item.counts or item.probabilities:
                plots.append((f"{name}, {shots_text(job.shots)}", item.counts or item.probabilities or {}))
            if item.expectations:
                values.append((name, item.expectations))
    if plots or values:
        page += ["## Results", *run_page.histogram_section(plots, of=len(plots)), *run_page.value_section(values)]
    of_runs = {job.run_key for job in ordered}
    page += choices.decided(ledger, of_runs)
    page += ["## Jobs", *run_page.job_section(ordered, links)]
    return "\n\n".join(page)
