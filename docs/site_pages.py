"""MkDocs hook: reference pages made from the code, pages that live elsewhere in the repository, notebooks as pages.

What a page says about commands, settings, errors, states, events, blocks and devices is read from the program that
has them, so it cannot fall behind. Links that leave `docs/` lead to the page's copy on the site, or to the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/qflows/qflows/blob/main/"

# page of the site → file of the repository
ELSEWHERE = {
    "deployments.md": "deployments/README.md",
    "sandbox.md": "qflows/sandbox/README.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}


# -- MkDocs' events


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are made, and the ones that live elsewhere."""
    from mkdocs.structure.files import File

    for page, make in MADE.items():
        files.append(File.generated(config, page, content=make()))
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, page, content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links to files of the repository into links that work on the site."""
    here = page.file.src_uri
    source = ELSEWHERE.get(here, f"docs/{here}")
    return relinked(markdown, here, source)


def relinked(markdown: str, here: str, source: str) -> str:
    """The page's text with every relative link resolved from `source`, its place in the repository."""
    homes = {path: page for page, path in ELSEWHERE.items()}

    def link(found: re.Match[str]) -> str:
        target, hash_, anchor = found[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in homes:
            leads = posixpath.relpath(homes[path], posixpath.dirname(here) or ".")
        elif path == "blocks/README.md":
            leads = posixpath.relpath("reference/blocks.md", posixpath.dirname(here) or ".")
        elif path == "README.md":
            leads = posixpath.relpath("index.md", posixpath.dirname(here) or ".")
        elif path == "docs/adr":
            leads = posixpath.relpath("adr/index.md", posixpath.dirname(here) or ".")
        elif path == "docs/notebooks":
            leads = posixpath.relpath("notebooks/first-steps.md", posixpath.dirname(here) or ".")
        elif path.startswith("docs/notebooks/") and not here.startswith("notebooks/"):
            page = path.removeprefix("docs/").replace(".ipynb", ".md")
            leads = posixpath.relpath(page, posixpath.dirname(here) or ".")
        elif path.startswith("docs/") and not path.endswith((".py", ".yaml")):
            leads = posixpath.relpath(path.removeprefix("docs/"), posixpath.dirname(here) or ".")
        else:
            return f"{found[1]}({REPOSITORY}{path}{hash_}{anchor})"
        return f"{found[1]}({leads}{hash_}{anchor})"

    return re.sub(r"(\]|\!\[[^\]]*\])\(([^)\s]+)\)", link, markdown)


# -- reference pages


def cli_page() -> str:
    """Every command with its help, arguments, options and examples."""
    import click
    import typer.main

    from qflows.cli.app import app

    root = typer.main.get_command(app)
    page = ["# Command line", paragraphs(root.help or "")]
    page.append("`--json` prints JSON. `qflows --install-completion` completes commands and options.")

    def walk(command: click.Command, name: str, depth: int) -> None:
        children = getattr(command, "commands", None)
        if depth:
            page.append(f"{'#' * min(depth + 1, 3)} `{name}`")
            page.append(paragraphs(command.help or ""))
        own = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
        if depth and own:
            page.append("\n".join(f"- {said}" for said in map(parameter, own)))
        lines = [
            line.strip()
            for line in (command.epilog or "").splitlines()
            if line.strip().startswith(("qflows", "QFLOWS", "IONQ"))
        ]
        if lines:
            page.append("```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```")
        for child in sorted(children or ()):
            walk(children[child], f"{name} {child}", depth + 1)

    walk(root, "qflows", 0)
    return "\n\n".join(page) + "\n"


def parameter(one: Any) -> str:
    """One option or argument in a line."""
    if one.param_type_name == "argument":
        name = one.metavar or (one.name or "").upper()
        return f"`{name}`: {text(getattr(one, 'help', '') or '')}"
    names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    default = one.default
    shown = "" if default in (None, False, (), []) or callable(default) else f" Default: `{default}`."
    return f"{names}: {text(one.help or '')}{shown}"


def errors_page() -> str:
    """The error tree: what each says, what to do, and the exit code of the command line."""
    from qflows import errors
    from qflows.cli.screen import _CODES

    page = [
        "# Errors",
        "Every error of qflows is a `qflows.QflowsError`. Whether a call may be repeated is in the type, so no message has "
        "to be read to decide. Messages say what happened, to which job or device, and what to do next.",
    ]
    for kind, depth in tree(errors.QflowsError):
        code = next((int(code) for base, code in _CODES if issubclass(kind, base)), 2)
        fields = ", ".join(f"`.{name}`" for name in kind.fields)
        page.append(f"{'#' * min(depth + 2, 4)} {kind.__name__}")
        page.append(paragraphs(kind.__doc__ or ""))
        page.append(f"**What to do:** {kind.remedy}")
        page.append(f"Exit code of `qflows`: {code}." + (f" Fields: {fields}." if fields else ""))
    return "\n\n".join(page) + "\n"


def tree(kind: type, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """An error and those below it, of `qflows.errors` only."""
    yield kind, depth
    for child in kind.__subclasses__():
        if child.__module__ == "qflows.errors":
            yield from tree(child, depth + 1)


def settings_page() -> str:
    """`QFLOWS_*` variables, with types and defaults."""
    from qflows.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        default = "see below" if field.default_factory else field.default
        kind = (
            str(field.annotation)
            .replace("<class '", "")
            .replace("'>", "")
            .replace("pathlib.", "")
            .replace(" | None", "")
        )
        rows.append(
            f"| `QFLOWS_{name.upper()}` | {kind} | {'' if default is None else default} | {text(field.description or '')} |"
        )
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables; all of them optional.",
            "",
            "| variable | type | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            paragraphs(Settings.__doc__ or ""),
            "",
            "## Credentials",
            "",
            "A vendor's own variables count, so a machine on which its client works needs nothing new. A Prefect block that "
            "the device profile names comes first ([credentials](../how-to/credentials.md)).",
            "",
            *credentials_rows(),
            "",
        ]
    )


def credentials_rows() -> list[str]:
    """Fields of each vendor's credentials."""
    from qflows.prefect.blocks.collection import BLOCK_TYPES

    rows = ["| block type | field | meaning |", "|---|---|---|"]
    for slug, kind in sorted(BLOCK_TYPES.items()):
        if not slug.endswith("-credentials"):
            continue
        rows += [
            f"| `{slug}` | `{name}` | {text(field.description or field.title or '')} |"
            for name, field in kind.model_fields.items()
        ]
    return rows


def states_page() -> str:
    """The state tables, with what each status means."""
    import inspect

    from qflows import states

    page = [
        "# States",
        "A status is a fact; a wish, such as a requested cancel, is a column. Every change in the ledger repeats this table "
        "in its `WHERE`, so a move that is not here cannot happen.",
    ]
    tables = {
        "Jobs": (states.JobStatus, states.TRANSITIONS),
        "Sessions": (states.SessionState, states.SESSION_TRANSITIONS),
        "Groups": (states.GroupState, states.GROUP_TRANSITIONS),
        "Callbacks of groups": (states.CallbackState, states.CALLBACK_TRANSITIONS),
    }
    for title, (kind, moves) in tables.items():
        said = dict(re.findall(r'^    (\w+) = "\w+"(?:  # (.*))?$', inspect.getsource(kind), re.MULTILINE))
        page.append(f"## {title}")
        rows = ["| state | means | may become |", "|---|---|---|"]
        for one in kind:
            after = ", ".join(sorted(state.value for state in moves[one])) or "nothing: it is final"
            rows.append(f"| `{one.value}` | {text(said.get(one.name, ''))} | {after} |")
        page.append("\n".join(rows))
    return "\n\n".join(page) + "\n"


def events_page() -> str:
    """Prefect events, and which word of an automation recipe stands for each."""
    from qflows.prefect import events
    from qflows.prefect.blocks.automations import WHEN

    said = {name: word for word, name in WHEN.items()}
    others = {events.BATCH_FINISHED: "the last job of a batch has ended"}
    others |= {name: kind for kind, (name, *_) in events.OTHERS.items()}
    rows = ["| event | told when the ledger says | in recipes |", "|---|---|---|"]
    rows += [
        f"| `{name}` | {kind} | {said.get(name, '')} |"
        for name, kind in [*((name, kind) for kind, name in events.EVENTS.items()), *others.items()]
    ]
    return (
        "\n\n".join(
            [
                "# Events",
                "Changes of jobs, and what happens to batches, budgets, gates and devices, are Prefect events, so the event "
                "feed, automations and notifications see them and not only flow runs. Each is told once, by the process "
                "that made the change durable. [Get notified when something happens](../how-to/automations.md) acts on them.",
                "\n".join(rows),
                paragraphs(events.JobEvents.__doc__ or ""),
            ]
        )
        + "\n"
    )


def blocks_page() -> str:
    """How documents become blocks, then every field of every block type."""
    from qflows.prefect.blocks.collection import BLOCK_TYPES

    page = [
        (ROOT / "blocks" / "README.md").read_text(encoding="utf-8").replace("# Block documents", "# Blocks"),
        "## Block types",
    ]
    for slug, kind in sorted(BLOCK_TYPES.items()):
        page.append(f"### {getattr(kind, '_block_type_name', kind.__name__)}\n\n`{slug}`")
        rows = ["| field | meaning |", "|---|---|"]
        rows += [f"| `{name}` | {text(field.description or '')} |" for name, field in kind.model_fields.items()]
        page.append("\n".join(rows))
    return "\n\n".join(page) + "\n"


def devices_page() -> str:
    """The profiles that ship."""
    from qflows.core.profiles import shipped

    rows = [
        "| device | vendor | vendor's name | qubits | shots | programs a job | about |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in shipped().values():
        if one.retired:
            continue
        shots = ("exact, " if one.exact else "") + (
            f"{one.min_shots} to {one.max_shots:,}" if one.max_shots else "the vendor's"
        )
        most = one.max_programs or "the vendor's"
        rows.append(
            f"| `{one.name}` | {one.provider} | {text(one.device)} | {one.qubits or ''} | {shots} | {most} | {text(one.description)} |"
        )
    return (
        "\n\n".join(
            [
                "# Devices",
                "Profiles that ship with qflows; `qflows devices` lists them too, `qflows devices show NAME` adds options and "
                "prices, and `qflows devices --live VENDOR` asks the vendor. Any other device is `vendor:device-id`.",
                "\n".join(rows),
            ]
        )
        + "\n"
    )


def decisions_page() -> str:
    """A list of the decisions."""
    lines = []
    for path in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return (
        "# Decisions\n\nChoices that cannot be taken back, each with its reason and what was left out.\n\n"
        + "\n".join(lines)
        + "\n"
    )


# -- notebooks


def notebook_page(path: Path) -> str:
    """A notebook as a page: texts, code and small outputs that are stored in it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    page = [f"[Download this notebook]({path.name}){{ .md-button }}"]
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            page.append(source)
            continue
        page.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            said = "".join(output.get("text", ())) or "".join(output.get("data", {}).get("text/plain", ()))
            if said:
                page.append(f"```text\n{said.rstrip()}\n```")
    title, *rest = page[1:]
    return "\n\n".join([title, page[0], *rest]) + "\n"


# -- text


def paragraphs(docstring: str) -> str:
    """A docstring or help text as Markdown; Google's sections become lists."""
    import inspect

    return re.sub(r"\n{3,}", "\n\n", inspect.cleandoc(docstring)).replace("\b\n", "").replace("<", "&lt;")


def text(said: str) -> str:
    """One line for a table cell."""
    return " ".join(str(said).split()).replace("|", "\\|").replace("<", "&lt;")


MADE: dict[str, Callable[[], str]] = {
    "reference/cli.md": cli_page,
    "reference/errors.md": errors_page,
    "reference/settings.md": settings_page,
    "reference/states.md": states_page,
    "reference/events.md": events_page,
    "reference/blocks.md": blocks_page,
    "reference/devices.md": devices_page,
    "adr/index.md": decisions_page,
}
