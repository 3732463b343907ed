"""Recording wanted jobs: sample ordinals, insert-or-adopt, and new epochs after a failure the vendor confirmed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from qflows.errors import KeyReused, LedgerError, OtherAccount, OverBudget
from qflows.keys import digest, sample_key
from qflows.ledger import accounts, charges, choices, groups, imports, marks
from qflows.ledger.budgets import Buyer, Purchase
from qflows.ledger.claims import Claim, Note, chunks, claim_in, tell_claimed
from qflows.ledger.rows import JOB_COLUMNS, items_of, job_of
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import REBUILT, jobs, programs, runs, samples
from qflows.model import Job, Quote
from qflows.protocol import JobSpec
from qflows.states import JobStatus


@dataclass(frozen=True, slots=True)
class Want:
    """The origin of a purchase: the logical run, the attempt (one execution of the flow), and the call inside the
    attempt.

    Equal calls of one attempt have different holders and so get different ordinals, which makes them different samples.
    A retried task has the same holder again and gets its own ordinal back. A new attempt starts again at 0 and so finds
    the jobs of the previous attempt. `group`: the jobs become members of it, or are not made. `sample`: the ordinal
    itself, if the caller names it. `choice`: the choice by rule, and its turn, that the job is bought for.
    """

    run_key: str
    attempt: str
    holder: str
    group: str | None = None
    sample: int | None = None
    choice: choices.Turn | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A spec with the names it is bought under. `resubmit`: new purchases allowed after a confirmed failure.

    `buyer`: whom it is counted for. `quote`: its cost, None with `is_priced` if nobody can say.
    """

    spec: JobSpec
    want: Want
    device: str
    account: str
    resubmit: int = 0
    buyer: Buyer = field(default_factory=Buyer)
    quote: Quote | None = None
    is_priced: bool = False


# what else a transaction writes once it has the jobs
Also = Callable[[sa.Connection, Sequence[Job]], None]


def prepare(ledger: Ledger, intents: Sequence[Intent], also: Also | None = None) -> list[Job]:
    """Make every intent durable, or find the job that already exists for it; in one transaction, handles in order.

    `also` writes in the same transaction what must exist only together with the jobs. Raises GroupClosed if a job that
    is not yet a member is wanted in a group that takes no more, ChoiceMoved if the choice by rule has moved to another
    device.
    """
    return prepare_and_claim(ledger, intents, at_most=0, lease_s=0.0, also=also)[0]


def prepare_and_claim(
    ledger: Ledger,
    intents: Sequence[Intent],
    *,
    at_most: int,
    lease_s: float,
    also: Also | None = None,
    note: Note | None = None,
) -> tuple[list[Job], dict[str, Claim]]:
    """Like `prepare`, and in the same transaction claim the first `at_most` of those that are free to be sent, for a
    caller that sends them at once. `note`: see `claim_in`."""
    if not intents:
        return [], {}
    contents = [intent.spec.content for intent in intents]
    wanted_in = sorted({intent.want.group for intent in intents if intent.want.group})

    def work(connection: sa.Connection) -> tuple[dict[int, Job], tuple[dict[str, Claim], dict[str, OverBudget]]]:
        choices.hold(connection, [intent.want.choice for intent in intents if intent.want.choice])
        takes_jobs = {group: groups.lock(connection, group) for group in wanted_in}
        _store_texts(ledger, connection, intents)
        made = _prepare_all(ledger, connection, intents, contents)
        chosen = [(want.choice[0], made[at].key) for at, want in enumerate(i.want for i in intents) if want.choice]
        choices.link(ledger, connection, chosen)
        for group in wanted_in:
            keys = [made[place].key for place, intent in enumerate(intents) if intent.want.group == group]
            groups.enrol(connection, group, keys, takes_jobs=takes_jobs[group])
        charges.reserve(ledger, connection, [_purchase(intents[place], job) for place, job in made.items()])
        if also is not None:
            also(connection, [made[place] for place in range(len(intents))])
        free = dict.fromkeys(made[place].key for place in range(len(intents)) if _is_free(made[place]))
        return made, claim_in(ledger, connection, list(free)[:at_most], lease_s=lease_s, note=note)

    prepared, (claimed, blocked) = ledger.transact(work)
    for place in range(len(intents)):
        ledger.tell("prepared", prepared[place].key)
    tell_claimed(ledger, claimed, blocked)
    return [prepared[place] for place in range(len(intents))], claimed


def _is_free(job: Job) -> bool:
    return job.status is JobStatus.PREPARED


def _purchase(intent: Intent, job: Job) -> Purchase:
    # what was already sent is no longer a purchase; its reservation stands
    is_priced = intent.is_priced and job.status is JobStatus.PREPARED
    told = {"is_priced": is_priced, "session_id": intent.spec.session_id}
    return Purchase(job.key, job.provider, job.device, job.run_key, intent.buyer, intent.quote, **told)


def _prepare_all(
    ledger: Ledger, connection: sa.Connection, intents: Sequence[Intent], contents: Sequence[str]
) -> dict[int, Job]:
    """Jobs by place. All code takes rows of a table in one order, jobs by key as claims and observations do: PostgreSQL
    would report crossing lists as a deadlock.
    """
    places = sorted(range(len(intents)), key=contents.__getitem__)  # stable: equal contents keep their order
    leased = {p: lease_ordinal(ledger, connection, intents[p].want, contents[p]) for p in places}
    sample = {p: sample_key(intents[p].want.run_key, contents[p], leased[p]) for p in places}
    names = marks.read(connection)
    first = names.keys(connection, [(one, 0) for one in sample.values()])
    places.sort(key=lambda p: first[sample[p], 0])
    return {
        p: _prepare_one(
            ledger, connection, _Wanted(intents[p], contents[p], leased[p], sample[p]), names, first[sample[p], 0]
        )
        for p in places
    }


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An intent with what its keys are made of."""

    intent: Intent
    content: str
    ordinal: int
    sample: str


def _prepare_one(ledger: Ledger, connection: sa.Connection, wanted: _Wanted, names: marks.Marks, key: str) -> Job:
    """The job that stands for `wanted` now; `key` is that of its first epoch."""
    intent = wanted.intent
    epoch = 0
    while True:
        row = _insert_or_adopt(ledger, connection, wanted, epoch, key)
        if row.content != wanted.content or row.run_key != intent.want.run_key:
            raise KeyReused(f"job {row.key[:12]} of run {row.run_key!r} was bought for other work; use another run key")
        if not accounts.are_same_in(connection, row.provider, row.account, intent.account):
            raise OtherAccount(
                f"run {row.run_key!r} bought job {row.key[:12]} with another account of {row.provider} "
                f"({row.account}, now {intent.account}); nothing was bought or read. Use another run key, "
                f"or, if the key was only renewed, run `qflows accounts same {row.provider} {row.account} "
                f"{intent.account}`",
                provider=row.provider,
                account=row.account,
                pending=(row.key,),
            )
        if row.superseded or _may_buy_again(connection, row, intent):
            epoch += 1
            key = names.keys(connection, [(wanted.sample, epoch)])[wanted.sample, epoch]
            continue
        return job_of(row)


def _insert_or_adopt(ledger: Ledger, connection: sa.Connection, wanted: _Wanted, epoch: int, key: str) -> Any:
    intent, spec = wanted.intent, wanted.intent.spec
    values = {
        "key": key,
        "sample": wanted.sample,
        "epoch": epoch,
        "superseded": False,
        "run_key": intent.want.run_key,
        "attempt": intent.want.attempt,
        "label": spec.label,
        "content": wanted.content,
        "ordinal": wanted.ordinal,
        "provider": spec.provider,
        "account": intent.account,
        "device": intent.device,
        "device_id": spec.device_id,
        "shots": spec.shots,
        "options": dict(spec.options),
        "items": items_of(spec),
        "estimate": digest("text/1", spec.estimate) if spec.estimate else None,
        "n_programs": len(spec.programs),
        "name": spec.name,
        "tags": dict(spec.tags),
        "session_id": spec.session_id,
        "status": JobStatus.PREPARED.value,
        "fence": 0,
        "looks": 0,
        "created_at": utc_now(),
        "provenance": {},
        "project": intent.buyer.project,
        "buyer": intent.buyer.user,
        "deployment": intent.buyer.deployment,
    }
    row = connection.execute(ledger.insert(_job_insert), values).one()
    return (imports.recognize(connection, row.key, values) or row) if row.origin == REBUILT else row


_JOB_VALUES = (
    "key", "sample", "epoch", "superseded", "run_key", "attempt", "label", "content", "ordinal", "provider", "account",
    "device", "device_id", "shots", "options", "items", "estimate", "n_programs", "name", "tags", "session_id",
    "status", "fence", "looks", "created_at", "provenance", "project", "buyer", "deployment",
)  # fmt: skip


def _job_insert(insert: Callable[[sa.Table], Any]) -> Any:
    statement = insert(jobs).values({name: sa.bindparam(name, type_=jobs.c[name].type) for name in _JOB_VALUES})
    return statement.on_conflict_do_update(
        index_elements=[jobs.c.key],
        set_={
            "earlier_attempt": jobs.c.attempt,
            "attempt": statement.excluded.attempt,
            # not sent yet: it joins the session that is open now
            "session_id": sa.case(
                (jobs.c.status == sa.literal_column(f"'{JobStatus.PREPARED}'"), statement.excluded.session_id),
                else_=jobs.c.session_id,
            ),
        },
    ).returning(*JOB_COLUMNS)


def _may_buy_again(connection: sa.Connection, row: Any, intent: Intent) -> bool:
    """Retire a failed job if a new purchase is allowed; only the vendor's word is a reason, never a doubt."""
    if row.status not in (JobStatus.FAILED, JobStatus.CANCELLED) or row.earlier_attempt is None:
        return False
    # a refusal cost nothing and ran nothing: the next attempt of the run may ask again without permission
    refused_before = row.error_kind == "refused" and row.earlier_attempt != intent.want.attempt
    if not refused_before and row.epoch >= intent.resubmit:
        return False
    return retire(connection, row.key)


def retire(connection: sa.Connection, key: str) -> bool:
    """Mark a failed or cancelled job as replaced by its next epoch. False if it already was."""
    done = connection.execute(
        sa.update(jobs)
        .where(jobs.c.key == key, jobs.c.status.in_([JobStatus.FAILED, JobStatus.CANCELLED]))
        .values(superseded=True)
    )
    return done.rowcount == 1


def lease_ordinal(ledger: Ledger, connection: sa.Connection, want: Want, content: str) -> int:
    """The ordinal of this call among equal ones of its attempt: its own again, otherwise the lowest free one."""
    if want.sample is not None:
        return want.sample
    values = {"scope": digest("scope/1", want.run_key, content, want.attempt), "holder": want.holder}
    returned = {"in_scope": values["scope"], "for_holder": want.holder}
    for _ in range(1000):  # PostgreSQL only: a racing insert took the number; each round at least one caller wins
        known = connection.execute(_MINE_OR_RETURNED, returned).all()
        mine = [ordinal for ordinal, holder in known if holder == want.holder]
        taken = mine[0] if mine else None
        if taken is None and known:
            taken = connection.execute(_TAKE_RETURNED, returned).scalar()
        if taken is None:
            taken = connection.execute(ledger.insert(_ordinal_insert), values).scalar()
        if taken is not None:
            return taken
    raise LedgerError(f"no sample ordinal could be leased for run {want.run_key!r}; too many equal calls at once")


_SCOPE, _HOLDER = sa.bindparam("scope", type_=sa.String(64)), sa.bindparam("holder", type_=sa.String(128))


_RETURNED = "returned:"  # prefix of a holder that gave its ordinal back
_others = samples.alias("others")
_IN_SCOPE = sa.bindparam("in_scope", type_=sa.String(64))
_FOR_HOLDER = sa.bindparam("for_holder", type_=sa.String(128))
_MINE_OR_RETURNED = sa.select(samples.c.ordinal, samples.c.holder).where(
    samples.c.scope == _IN_SCOPE,
    sa.or_(samples.c.holder == _FOR_HOLDER, samples.c.holder.startswith(_RETURNED)),
)
_TAKE_RETURNED = (
    sa.update(samples)
    .where(
        samples.c.scope == _IN_SCOPE,
        samples.c.holder.startswith(_RETURNED),
        samples.c.ordinal
        == sa.select(sa.func.min(_others.c.ordinal))
        .where(_others.c.scope == _IN_SCOPE, _others.c.holder.startswith(_RETURNED))
        .scalar_subquery(),
    )
    .values(holder=_FOR_HOLDER)
    .returning(samples.c.ordinal)
)
_GIVE_BACK = (
    sa.update(samples)
    .where(samples.c.scope == _IN_SCOPE, samples.c.holder == _FOR_HOLDER)
    .values(holder=sa.bindparam("to_holder", type_=sa.String(128)))
)


def give_back(ledger: Ledger, intents: Sequence[Intent]) -> None:
    """Free the ordinals of calls that did not return: the next equal call of the attempt is the same sample."""
    give_back_ordinals(ledger, [(one.want, one.spec.content) for one in intents])


def give_back_ordinals(ledger: Ledger, wanted: Sequence[tuple[Want, str]]) -> None:
    """The same for wants and their contents."""
    rows = [
        {
            "in_scope": digest("scope/1", want.run_key, content, want.attempt),
            "for_holder": want.holder,
            "to_holder": f"{_RETURNED}{want.holder}"[:128],
        }
        for want, content in wanted
        if want.sample is None
    ]
    with ledger.write() as connection:
        for row in rows:
            connection.execute(_GIVE_BACK, row)


def _ordinal_insert(insert: Callable[[sa.Table], Any]) -> Any:
    following = sa.select(
        sa.cast(_SCOPE, sa.String(64)),
        sa.cast(_HOLDER, sa.String(128)),
        sa.func.coalesce(sa.func.max(samples.c.ordinal) + 1, 0),
    ).where(samples.c.scope == _SCOPE)
    return (
        insert(samples)
        .from_select(["scope", "holder", "ordinal"], following)
        .on_conflict_do_nothing()
        .returning(samples.c.ordinal)
    )


def put_into_session(ledger: Ledger, keys: Collection[str], session_id: str | None) -> None:
    """Put unsent jobs among `keys` into this session, None for no session; sent ones stay where they are."""
    with ledger.write() as connection:
        for part in chunks(sorted(keys)):
            connection.execute(
                sa.update(jobs)
                .where(jobs.c.key.in_(part), jobs.c.status == JobStatus.PREPARED)
                .values(session_id=session_id)
            )


def _store_texts(ledger: Ledger, connection: sa.Connection, wanted: Sequence[Intent]) -> None:
    texts = {program.digest: program.text for intent in wanted for program in intent.spec.programs}
    texts |= {digest("text/1", i.spec.estimate): i.spec.estimate for i in wanted if i.spec.estimate}
    rows = [{"digest": name, "text": text} for name, text in sorted(texts.items())]
    connection.execute(ledger.insert(_program_insert), rows)


def _program_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {"digest": sa.bindparam("digest"), "text": sa.bindparam("text")}
    return insert(programs).values(row).on_conflict_do_nothing()


def touch_run(ledger: Ledger, run_key: str, *, flow_name: str | None, flow_run_id: str | None) -> None:
    """Record that a flow run works under this run key, so that cancels and warnings can find its jobs."""
    values = {"run_key": run_key, "flow_name": flow_name, "flow_run_id": flow_run_id, "now": utc_now()}
    with ledger.write() as connection:
        connection.execute(ledger.insert(_run_insert), values)


def _run_insert(insert: Callable[[sa.Table], Any]) -> Any:
    now = sa.bindparam("now", type_=runs.c.last_seen.type)
    names = {name: sa.bindparam(name) for name in ("run_key", "flow_name", "flow_run_id")}
    statement = insert(runs).values(**names, first_seen=now, last_seen=now)
    newest = {name: statement.excluded[name] for name in ("last_seen", "flow_run_id", "flow_name")}
    return statement.on_conflict_do_update(index_elements=[runs.c.run_key], set_=newest)
