"""The claim on one submission: one winner, leases, dead owners, late answers, doubts and people."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from qflows.errors import IllegalTransition, StaleClaim, UnknownJob
from qflows.ledger import Ledger, claims, outcomes, owner, reads
from qflows.ledger.claims import Claim
from qflows.states import JobStatus

from .conftest import LEASE_S, MakeJob

S = JobStatus
Alter = Callable[..., None]


@pytest.fixture
def dead_owner() -> str:
    """The name of a process of this machine that has ended."""
    code = "from qflows.ledger.owner import me; print(me())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def take(ledger: Ledger, key: str, lease_s: float = LEASE_S) -> Claim:
    claim = claims.claim(ledger, key, lease_s=lease_s)
    assert claim is not None
    return claim


def test_racing_claims_have_one_winner(ledger: Ledger, make_job: MakeJob) -> None:
    key = make_job().key
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda _: claims.claim(ledger, key, lease_s=9), range(16)))
    assert sum(claim is not None for claim in won) == 1


def test_several_claims_at_once_take_only_what_is_free(ledger: Ledger, make_job: MakeJob) -> None:
    free, held, done = make_job(), make_job(S.SUBMITTING), make_job(S.COMPLETED)
    mine = claims.claim_several(ledger, [held.key, free.key, done.key], lease_s=9)
    assert set(mine) == {free.key}


def test_sixteen_threads_claiming_crossed_lists_win_each_job_once(ledger: Ledger, make_job: MakeJob) -> None:
    keys = [make_job().key for _ in range(12)]

    def race(number: int) -> list[str]:
        mine = claims.claim_several(ledger, keys[:: 1 if number % 2 else -1], lease_s=9)
        return list(mine)

    with ThreadPoolExecutor(16) as pool:
        won = [key for keys_won in pool.map(race, range(16)) for key in keys_won]
    assert sorted(won) == sorted(keys)


def test_only_lost_answers_count_as_sends(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job()
    claims.not_sent(ledger, take(ledger, job.key), message="no route", retry_in_s=0)
    after = reads.job(ledger, job.key)
    assert (after.sends, after.account) == (0, job.account)
    claims.doubted(ledger, take(ledger, job.key), message="502")
    assert reads.job(ledger, job.key).sends == 1


def test_job_that_must_wait_is_not_claimed_before_its_time(ledger: Ledger, make_job: MakeJob, alter: Alter) -> None:
    job = make_job()
    claims.not_sent(ledger, take(ledger, job.key), message="429", retry_in_s=30)
    assert claims.claim(ledger, job.key, lease_s=9) is None
    assert 25 < reads.send_delay_s(ledger, [job.key])[job.key] <= 30
    alter(job.key, send_after=0.0)
    assert take(ledger, job.key).fence == job.fence + 2


def test_claim_tells_how_long_it_keeps_others_away(ledger: Ledger, make_job: MakeJob) -> None:
    assert 800 < take(ledger, make_job().key, lease_s=900).remaining_s() <= 900


def test_running_lease_of_a_living_owner_is_left_alone(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.SUBMITTING)
    assert claims.expire(ledger, [job.key]) == []
    assert reads.job(ledger, job.key).status is S.SUBMITTING


def test_lease_that_ran_out_is_a_doubt_and_never_free_to_submit(
    ledger: Ledger, make_job: MakeJob, alter: Alter
) -> None:
    job = make_job(S.SUBMITTING)
    alter(job.key, lease_until=1.0)
    assert claims.expire(ledger, [job.key]) == [job.key]
    after = reads.job(ledger, job.key)
    assert (after.status, after.fence) == (S.IN_DOUBT, job.fence + 1)
    assert claims.claim(ledger, job.key, lease_s=9) is None


def test_claim_of_a_dead_process_is_a_doubt_at_once(
    ledger: Ledger, make_job: MakeJob, alter: Alter, dead_owner: str
) -> None:
    job = make_job(S.SUBMITTING)
    alter(job.key, claim_owner=dead_owner)
    assert claims.expire(ledger, [job.key]) == [job.key]


@pytest.mark.parametrize("name", ["elsewhere/0/1/99/5", "", "garbage", "a/b/c/not-a-pid/9"])
def test_owner_that_may_live_elsewhere_keeps_its_claim(
    ledger: Ledger, make_job: MakeJob, alter: Alter, name: str
) -> None:
    job = make_job(S.SUBMITTING)
    alter(job.key, claim_owner=name)
    assert claims.expire(ledger, [job.key]) == []


def test_reused_process_id_does_not_keep_a_dead_owner_alive() -> None:
    place, _, ticks = owner.me().rpartition("/")
    assert not owner.is_dead(owner.me())
    assert owner.is_dead(f"{place}/{int(ticks) - 1}")


def test_zombie_counts_as_dead() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, owner.me().encode())
        os._exit(0)
    name = os.read(reader, 500).decode()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped
    try:
        assert name != owner.me()
        assert owner.is_dead(name)
    finally:
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def test_late_answer_after_expiry_is_accepted_when_nobody_took_over(
    ledger: Ledger, make_job: MakeJob, alter: Alter
) -> None:
    job = make_job()
    claim = take(ledger, job.key)
    alter(job.key, lease_until=1.0)
    claims.expire(ledger, [job.key])
    claims.accepted(ledger, claim, "v-late")
    after = reads.job(ledger, job.key)
    assert (after.status, after.vendor_id, after.error_kind) == (S.QUEUED, "v-late", None)


def test_late_answer_after_a_takeover_is_written_down_and_refused(
    ledger: Ledger, make_job: MakeJob, alter: Alter
) -> None:
    job = make_job()
    late = take(ledger, job.key)
    alter(job.key, lease_until=1.0)
    claims.expire(ledger, [job.key])
    claims.absent(ledger, reads.job(ledger, job.key))
    winner = take(ledger, job.key)
    with pytest.raises(StaleClaim):
        claims.accepted(ledger, late, "v-late")
    claims.accepted(ledger, winner, "v-winner")
    assert reads.job(ledger, job.key).vendor_id == "v-winner"
    (event,) = [e for e in reads.history(ledger, job.key) if e["kind"] == "late-answer"]
    assert event["detail"]["vendor_id"] == "v-late"


@pytest.mark.parametrize("end", ["refused", "not_sent", "doubted"])
def test_late_word_of_an_expired_claim_changes_nothing(
    ledger: Ledger, make_job: MakeJob, alter: Alter, end: str
) -> None:
    job = make_job()
    claim = take(ledger, job.key)
    alter(job.key, lease_until=1.0)
    claims.expire(ledger, [job.key])
    extra = {"refused": {"code": None}, "not_sent": {"retry_in_s": 0.0}, "doubted": {}}[end]
    with pytest.raises(StaleClaim):
        getattr(claims, end)(ledger, claim, message="m", **extra)
    assert reads.job(ledger, job.key).status is S.IN_DOUBT


def test_doubt_is_looked_up_at_once_then_when_its_next_look_is_due(
    ledger: Ledger, make_job: MakeJob, alter: Alter
) -> None:
    job = make_job(S.IN_DOUBT)
    (doubt,) = claims.doubts_due(ledger, [job.key])
    assert (doubt.job.key, doubt.looks) == (job.key, 0)
    assert 0 <= doubt.age_s < 60
    claims.looked(ledger, job, again_in_s=30)
    assert claims.doubts_due(ledger, [job.key]) == []
    alter(job.key, look_after=1.0)
    (again,) = claims.doubts_due(ledger, [job.key])
    assert again.looks == 1
    claims.postpone(ledger, job, again_in_s=0)
    assert claims.doubts_due(ledger, [job.key])[0].looks == 1


def test_look_up_of_one_doubt_covers_those_that_were_claimed_after_it(
    ledger: Ledger, make_job: MakeJob, alter: Alter
) -> None:
    old, middle, young, held = (make_job(S.IN_DOUBT) for _ in range(4))
    for days, job in enumerate((old, middle, young), start=1):
        claims.postpone(ledger, job, again_in_s=3600)
        alter(job.key, claimed_at=datetime(2026, 11, days, tzinfo=UTC))
    claims.looked(ledger, held, again_in_s=None)  # waits for a person
    keys = [job.key for job in (old, middle, young, held)]
    assert claims.doubts_due(ledger, keys) == []
    alter(middle.key, look_after=1.0)
    assert {doubt.job.key for doubt in claims.doubts_due(ledger, keys)} == {middle.key, young.key}


def test_doubt_left_to_a_person_is_never_due_by_itself(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.IN_DOUBT)
    claims.looked(ledger, job, again_in_s=None)
    assert claims.doubts_due(ledger, [job.key]) == []


def test_person_can_say_where_a_doubtful_job_is(ledger: Ledger, make_job: MakeJob) -> None:
    there, nowhere, fine = make_job(S.IN_DOUBT), make_job(S.IN_DOUBT), make_job(S.QUEUED)
    claims.resolve_submitted(ledger, there.key, "v-seen")
    claims.resolve_absent(ledger, nowhere.key)
    assert reads.job(ledger, there.key).vendor_id == "v-seen"
    assert reads.job(ledger, nowhere.key).status is S.PREPARED
    with pytest.raises(IllegalTransition, match="QUEUED"):
        claims.resolve_absent(ledger, fine.key)
    with pytest.raises(UnknownJob):
        claims.resolve_absent(ledger, "0" * 64)


def test_settling_twice_is_refused(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.IN_DOUBT)
    claims.adopt(ledger, job, "v-1", extras=["v-2"])
    for again in (lambda: claims.adopt(ledger, job, "v-3"), lambda: claims.absent(ledger, job)):
        with pytest.raises(StaleClaim):
            again()
    (event,) = [e for e in reads.history(ledger, job.key) if e["kind"] == "adopted"]
    assert event["detail"] == {"vendor_id": "v-1", "extras": ["v-2"]}


@pytest.mark.parametrize("end", ["not sent", "absent", "resolved absent"])
def test_wish_to_cancel_a_job_that_turns_out_unsent_cancels_it(ledger: Ledger, make_job: MakeJob, end: str) -> None:
    job = make_job()
    claim = take(ledger, job.key)
    assert outcomes.request_cancel(ledger, [job.key]) == [job.key]
    if end == "not sent":
        claims.not_sent(ledger, claim, message="connection refused", retry_in_s=0)
    else:
        claims.doubted(ledger, claim, message="no answer")
        if end == "absent":
            claims.absent(ledger, reads.job(ledger, job.key))
        else:
            claims.resolve_absent(ledger, job.key)
    after = reads.job(ledger, job.key)
    assert (after.status, after.error_kind) == (S.CANCELLED, "cancelled")
    assert reads.send_delay_s(ledger, [job.key]) == {}


HOSTILE = "a\x00b\ud800c" + "x" * 100_000


def test_hostile_text_of_a_vendor_is_bounded_and_stored(ledger: Ledger, make_job: MakeJob) -> None:
    refused, unsent, doubtful = (make_job() for _ in range(3))
    claims.refused(ledger, take(ledger, refused.key), code=HOSTILE, message=HOSTILE)
    claims.not_sent(ledger, take(ledger, unsent.key), message=HOSTILE, retry_in_s=0)
    claims.doubted(ledger, take(ledger, doubtful.key), message=HOSTILE)
    after = reads.job(ledger, refused.key)
    assert after.status is S.FAILED
    assert after.error_code is not None
    assert len(after.error_code) <= 255
    for key in (refused.key, unsent.key, doubtful.key):
        message = reads.job(ledger, key).error_message
        assert message is not None
        assert message.startswith("a")
        assert len(message) <= 4000
        assert "\x00" not in message
