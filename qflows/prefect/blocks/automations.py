"""Automation recipes: documents of the kind `automation` become Prefect automations that act on qflows' events.

A recipe names what has to happen and what is done then: somebody is told, a deployment runs, or its schedule stops. The
event is the automation's trigger, so nothing of qflows has to run when it fires.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks import notifications, webhook
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.events import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.actions import ActionTypes, CallWebhook, PauseDeployment, RunDeployment, SendNotification
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from qflows.core import documents
from qflows.core.documents import Document
from qflows.prefect.events import BATCH_FINISHED, EVENTS, OTHERS

KEYS = ("kind", "name", "description", "when", "notify", "run", "parameters", "pause")
# what a recipe may act on → the event that says so
WHEN: Mapping[str, str] = {
    "failed": EVENTS["failed"],
    "in doubt": EVENTS["in-doubt"],
    "held": EVENTS["results-withheld"],
    "unreadable": EVENTS["unreadable-result"],
    "completed": EVENTS["completed"],
    "budget reached": OTHERS["budget-reached"][0],
    "gate held": OTHERS["gate-held"][0],
    "drift": OTHERS["drifted"][0],
    "batch finished": BATCH_FINISHED,
}
# Prefect's own block types that tell somebody; a webhook posts JSON, the others a text
NOTIFIERS: Mapping[str, type[Block]] = {
    "slack-webhook": notifications.SlackWebhook,
    "sendgrid-email": notifications.SendgridEmail,
    "mattermost-webhook": notifications.MattermostWebhook,
    "ms-teams-webhook": notifications.MicrosoftTeamsWebhook,
    "webhook": webhook.Webhook,
}

_WHAT = "event.resource['prefect.resource.name']"
_WHY = "(event.payload.get('error') or event.payload.get('reason') or '')"
_SUBJECT = f"qflows: {{{{ {_WHAT} }}}}"
_BODY = (
    f"{{{{ event.event }}}}\n{{{{ {_WHAT} }}}}\n{{{{ {_WHY} }}}}\nrun key: {{{{ event.payload.get('run_key') or '' }}}}"
)
# tojson: a vendor's text is data, and stays inside its quotation marks
_JSON = (
    f'{{"event": {{{{ event.event | tojson }}}}, "what": {{{{ {_WHAT} | tojson }}}}, '
    '"id": {{ event.resource.id | tojson }}, "at": {{ event.occurred.isoformat() | tojson }}, '
    f"\"why\": {{{{ {_WHY} | tojson }}}}, \"run_key\": {{{{ (event.payload.get('run_key') or '') | tojson }}}}}}"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """An automation as its document asks for it.

    `notify`: block as type/name; `run` and `pause`: deployment as flow/name. Each is empty where it is not wanted.
    """

    name: str
    description: str
    when: tuple[str, ...]
    notify: str = ""
    run: str = ""
    pause: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def automation(self, ids: Mapping[str, UUID]) -> AutomationCore:
        """The automation; `ids` has the block's and the deployments' by their names here."""
        actions: list[ActionTypes] = []
        if self.notify.startswith("webhook/"):
            actions.append(CallWebhook(block_document_id=ids[self.notify], payload=_JSON))
        elif self.notify:
            actions.append(SendNotification(block_document_id=ids[self.notify], subject=_SUBJECT, body=_BODY))
        if self.run:
            given = {name: _templated(value) for name, value in self.parameters.items()}
            actions.append(
                RunDeployment(
                    source="selected", deployment_id=ids[self.run], parameters=given or None, job_variables=None
                )
            )
        if self.pause:
            actions.append(PauseDeployment(source="selected", deployment_id=ids[self.pause]))
        return AutomationCore(
            name=self.name,
            description=self.description,
            enabled=True,
            trigger=EventTrigger(
                expect={WHEN[one] for one in self.when},
                match=ResourceSpecification.model_validate({"prefect.resource.id": "qflows.*"}),
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=actions,
        )


def _templated(value: Any) -> Any:
    if isinstance(value, str) and "{{" in value:
        return {"__prefect_kind": "jinja", "template": value}
    return value


def read(document: Document) -> Recipe:
    """The recipe of a document. Raises DocumentError naming file, line and key."""
    body = document.body
    for key in body:
        if key not in KEYS:
            raise document.error([key], documents.unknown_key(key, KEYS))
    when = body.get("when")
    if not isinstance(when, list) or not when:
        raise document.error(["when"], f"list the events to act on: {', '.join(WHEN)}")
    for place, one in enumerate(when):
        if one not in WHEN:
            raise document.error(["when", place], f"choose from {', '.join(WHEN)}")
    description, parameters = body.get("description", ""), body.get("parameters", {})
    if not isinstance(description, str):
        raise document.error(["description"], "must be text")
    if not isinstance(parameters, dict):
        raise document.error(["parameters"], "must be a mapping with the parameters of the deployment")
    done = {key: _named(document, key) for key in ("notify", "run", "pause")}
    if not any(done.values()):
        raise document.error([], "has nothing to do; add notify (a block), run or pause (a deployment)")
    if parameters and not done["run"]:
        raise document.error(["parameters"], "parameters belong to `run`, which is missing")
    if done["notify"] and done["notify"].partition("/")[0] not in NOTIFIERS:
        raise document.error(["notify"], f"choose from the types {', '.join(NOTIFIERS)}")
    return Recipe(str(body["name"]), description, tuple(dict.fromkeys(when)), **done, parameters=parameters)


def _named(document: Document, key: str) -> str:
    value = document.body.get(key, "")
    if not isinstance(value, str) or (value and not all(value.partition("/"))):
        raise document.error([key], "a block as type/name" if key == "notify" else "a deployment as flow/name")
    return value


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a recipe, or would. `missing`: what has to be there first."""

    was_there: bool
    differing: tuple[str, ...] = ()
    missing: str = ""


def settle(api: SyncPrefectClient, recipe: Recipe, coming: Collection[str], *, is_wet: bool) -> Settled:
    """Compares with what is saved, and saves what differs. `coming`: blocks of the same command, which a dry run does
    not find yet."""
    there = _saved(api, recipe.name)
    ids: dict[str, UUID] = {}
    for name in filter(None, (recipe.notify, recipe.run, recipe.pause)):
        found = _id(api, name, is_block=name == recipe.notify)
        if found is not None:
            ids[name] = found
        elif is_wet or name not in coming:
            kind = "its notification block" if name == recipe.notify else "its deployment"
            return Settled(there is not None, missing=f"{kind} {name} is not there; apply or deploy it as well")
        else:
            return Settled(there is not None)
    wanted = recipe.automation(ids)
    differing = _differing(wanted, there) if there else []
    if is_wet and there and differing:
        # whether it is switched on is its owner's choice
        api.update_automation(there.id, wanted.model_copy(update={"enabled": there.enabled}))
    elif is_wet and not there:
        api.create_automation(wanted)
    return Settled(there is not None, tuple(differing))


def _saved(api: SyncPrefectClient, name: str) -> Automation | None:
    found = api.read_automations_by_name(name)
    return found[0] if found else None


def _id(api: SyncPrefectClient, reference: str, *, is_block: bool) -> UUID | None:
    slug, _, name = reference.partition("/")
    try:
        if is_block:
            return api.read_block_document_by_name(name, slug, include_secrets=False).id
        return api.read_deployment_by_name(reference).id
    except ObjectNotFound:
        return None


def _differing(wanted: AutomationCore, there: Automation) -> list[str]:
    parts = ("description", "trigger", "actions")
    mine, theirs = wanted.model_dump(mode="json"), there.model_dump(mode="json")
    return [part for part in parts if _bare(mine[part]) != _bare(theirs[part])]


def _bare(value: Any) -> Any:
    """Without ids that the server gives, and with sets in one order."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if key != "id"}
    if isinstance(value, list):
        bare = [_bare(one) for one in value]
        return sorted(bare) if all(isinstance(one, str) for one in bare) else bare
    return value
