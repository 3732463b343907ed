"""The state table: closed, reachable, and with ends that are ends."""

from __future__ import annotations

from qflows.states import AT_VENDOR, LIVE, TERMINAL, TRANSITIONS, JobStatus, sources

S = JobStatus


def test_every_status_has_a_row_and_leads_to_statuses_only() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert all(to in JobStatus for after in TRANSITIONS.values() for to in after)


def test_every_status_is_reachable_from_prepared() -> None:
    reached, border = {S.PREPARED}, {S.PREPARED}
    while border:
        border = {to for status in border for to in TRANSITIONS[status]} - reached
        reached |= border
    assert reached == set(JobStatus)


def test_every_status_can_come_to_an_end() -> None:
    ending = set(TERMINAL)
    while more := {s for s, after in TRANSITIONS.items() if after & ending} - ending:
        ending |= more
    assert ending == set(JobStatus)


def test_ends_and_living_statuses_share_out_the_table() -> None:
    assert {S.COMPLETED, S.FAILED, S.CANCELLED} == TERMINAL
    assert not TERMINAL & LIVE
    assert set(JobStatus) == TERMINAL | LIVE
    assert AT_VENDOR <= LIVE


def test_no_status_leads_to_itself_and_a_doubt_never_straight_to_the_wire() -> None:
    assert not any(status in after for status, after in TRANSITIONS.items())
    assert S.SUBMITTING not in TRANSITIONS[S.IN_DOUBT]
    assert sources(S.SUBMITTING) == (S.PREPARED,)


def test_sources_are_the_table_read_backwards() -> None:
    for to in JobStatus:
        assert set(sources(to)) == {status for status, after in TRANSITIONS.items() if to in after}
