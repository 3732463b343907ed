"""What a provider that speaks HTTP must do besides: requests counted, doubts typed, jobs found again, nothing leaked.

    class TestAcme(RemoteConformance):
        sampling = (Target("acme-qpu"),)
        routes_submit, routes_poll, routes_result = "acme.submit", "acme.list", "acme.results"
        status_words = {"waiting": Phase.QUEUED, ...}

        def phase_of(self, word): return wire.phase_of(word)
        def refused_specs(self, provider): return [...]

        @pytest.fixture
        def connected_to(self): return lambda url: connect("acme", {"key": CANARY, "url": url})

        @pytest.fixture
        def provider(self, sandbox, connected_to): return connected_to(sandbox.url)

The fixtures `sandbox` and `closed_port` of `qflows.testing.fixtures` give the emulated vendor; another emulator serves
as well if it has the members of `Emulator`.
"""

from __future__ import annotations

import math
import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import Ambiguous, NotSent, ProgramRejected, ProviderError, Refused, Throttled, Unreadable
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec, Lookup, Phase, Provider
from qflows.states import JobStatus
from qflows.testing.circuits import bell
from qflows.testing.conformance import ProviderConformance
from qflows.testing.jobs import counts_of, key_of, read_result, send_job, spec_of, wait

CANARY = "canary-4f1d-secret-0c9e"
"""Connect with this as the secret; the suite looks for it in everything an error shows."""


class EmulatorAdmin(Protocol):
    """How the suite directs an emulated vendor; `qflows.sandbox.Admin` has all of it, and its README the meanings."""

    def clock(self, pace: str | None = None) -> Any:
        """`frozen`: jobs stay queued; `instant`: a job is done at its first read."""
        ...

    def fault(self, kind: str, route: str, **members: Any) -> Any:
        """The next calls of a route go wrong: `status`, `drop_before`, `drop_after`, `truncate`, `fail_job`."""
        ...

    def clear_faults(self) -> Any:
        """No call goes wrong from now on."""
        ...

    def requests(self, route: str) -> int:
        """How many requests a route has seen, whatever became of them."""
        ...

    def journal(self) -> Sequence[Any]:
        """All requests so far."""
        ...

    def jobs(self, vendor: str) -> Sequence[Mapping[str, Any]]:
        """Accepted jobs in order, each with its `id`."""
        ...

    def count_jobs(self, vendor: str) -> int:
        """How many jobs were accepted."""
        ...


class Emulator(Protocol):
    """An emulated vendor that listens; `qflows.sandbox.Sandbox` is one."""

    @property
    def url(self) -> str:
        """Its address without a path, such as http://127.0.0.1:40001."""
        ...

    @property
    def admin(self) -> EmulatorAdmin:
        """Faults, clock and counts."""
        ...


def shown_by(error: BaseException) -> str:
    """All that a log, a state or an artifact could show of an error, its causes included."""
    text = "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        text += repr(seen) + str(seen) + repr(vars(seen))
        seen = seen.__cause__ or seen.__context__
    return text


class RemoteConformance(ProviderConformance):
    """The contract of a provider that speaks HTTP."""

    routes_submit: ClassVar[str] = ""
    """Sandbox route of a submission, e.g. `acme.submit`."""
    routes_poll: ClassVar[str] = ""
    """Sandbox route of a bulk status read."""
    routes_status: ClassVar[str] = ""
    """Sandbox route of the status of one job, where few jobs are not read from lists."""
    routes_result: ClassVar[str] = ""
    """Sandbox route from which counts come."""
    unknown_id: ClassVar[str] = "00000000-0000-4000-8000-000000000000"
    poll_sizes: ClassVar[tuple[float, ...]] = (1, 1.04, 2.5)
    """Jobs polled, in pages."""
    status_words: ClassVar[Mapping[str, Phase]] = {}
    """Every status word of the vendor's documents and its meaning, written out and not imported from the adapter."""

    def phase_of(self, word: str) -> Phase:
        """What the adapter makes of one status word."""
        pytest.fail("give `phase_of` in the subclass")

    @pytest.fixture
    def connected_to(self) -> Callable[[str], Provider]:
        """A function from a base address (`http://127.0.0.1:<port>`) to a provider whose secret is CANARY."""
        pytest.fail("give a fixture `connected_to` in the subclass")

    def refused_specs(self, provider: Provider) -> list[JobSpec]:
        """Jobs that `check` must refuse, besides those that every vendor refuses."""
        return []

    def _spec(self, provider: Provider, shots: int = 100) -> JobSpec:
        return spec_of(provider, self.sampling[0], bell(), shots=shots)

    def _skip_without_lookup(self, provider: Provider) -> None:
        if provider.capabilities.lookup is Lookup.NONE:
            pytest.skip("the vendor cannot be asked for a key; a person ends its doubts")

    # -- polling -----------------------------------------------------------------------------------------------

    def test_bulk_poll_takes_one_request_a_page(self, provider: Provider, sandbox: Emulator) -> None:
        sandbox.admin.clock("frozen")
        page = provider.capabilities.poll_page
        sizes = [math.ceil(page * factor) for factor in self.poll_sizes]
        spec = self._spec(provider)
        ids: list[str] = []
        for size in sorted(sizes):
            ids += [send_job(provider, spec, key_of("bulk", i)).vendor_id for i in range(len(ids), size)]
            before = sandbox.admin.requests(self.routes_poll)
            looks = provider.poll(ids[:size])
            assert sandbox.admin.requests(self.routes_poll) - before == math.ceil(size / page)
            assert set(looks) == set(ids[:size])
            assert {look.phase for look in looks.values()} == {Phase.QUEUED}

    def test_composite_that_failed_as_a_whole_comes_to_its_end(
        self, provider: Provider, sandbox: Emulator, tmp_path: Path
    ) -> None:
        target = self.sampling[0]
        if (provider.limits(target.device_id).max_programs or provider.capabilities.max_programs) < 2:
            pytest.skip("the device takes one circuit a job")
        sandbox.admin.fault("fail_job", self.routes_submit, code="InternalError", message="lost")
        ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
        submitter = Submitter(ledger)
        wanted = Intent(
            spec_of(provider, target, bell("a"), bell("b"), shots=100), Want("run", "a", "h"), "x", provider.account
        )
        (job,) = submitter.submit(provider, [wanted])
        ended = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=30)[job.key]
        ledger.close()
        assert ended.status is JobStatus.FAILED

    def test_unknown_id_is_absent_and_not_finished(self, provider: Provider) -> None:
        vendor_id = send_job(provider, self._spec(provider), key_of("unknown")).vendor_id
        assert set(provider.poll([self.unknown_id, vendor_id])) == {vendor_id}

    def test_only_the_vendors_own_word_says_that_a_job_does_not_exist(
        self, provider: Provider, connected_to: Callable[[str], Provider], closed_port: int
    ) -> None:
        vendor_id = send_job(provider, self._spec(provider), key_of("exists")).vendor_id
        assert provider.exists(vendor_id)
        assert not provider.exists(self.unknown_id)
        with pytest.raises(NotSent):
            connected_to(f"http://127.0.0.1:{closed_port}").exists(vendor_id)

    def test_poll_of_nothing_asks_nothing(self, provider: Provider, sandbox: Emulator) -> None:
        assert provider.poll([]) == {}
        assert sandbox.admin.requests(self.routes_poll) == 0

    def test_poll_out_of_reach_is_free_to_repeat(self, connected_to: Callable[[str], Provider], closed_port: int):
        provider = connected_to(f"http://127.0.0.1:{closed_port}")
        with pytest.raises(NotSent):
            provider.poll([self.unknown_id])

    def test_poll_that_is_throttled_says_how_long_to_wait(self, provider: Provider, sandbox: Emulator) -> None:
        vendor_id = send_job(provider, self._spec(provider), key_of("throttled")).vendor_id
        sandbox.admin.fault("status", self.routes_status or self.routes_poll, status=429, retry_after=1)
        with pytest.raises(Throttled) as caught:
            provider.poll([vendor_id])
        assert caught.value.retry_after_s == 1
        assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE

    # -- submission --------------------------------------------------------------------------------------------

    def test_one_submission_is_one_request(self, provider: Provider, sandbox: Emulator) -> None:
        send_job(provider, self._spec(provider), key_of("one"))
        assert sandbox.admin.requests(self.routes_submit) == 1
        assert sandbox.admin.count_jobs(self.vendor_name(provider)) == 1

    def vendor_name(self, provider: Provider) -> str:
        """The vendor's name in the sandbox."""
        return provider.name

    @pytest.mark.parametrize("status", [401, 403])
    def test_submission_with_bad_credentials_is_refused(
        self, provider: Provider, sandbox: Emulator, status: int
    ) -> None:
        sandbox.admin.fault("status", self.routes_submit, status=status, accepted=False, times=None)
        with pytest.raises(Refused) as caught:
            send_job(provider, self._spec(provider), key_of("bad", status))
        assert caught.value.http_status == status
        assert sandbox.admin.count_jobs(self.vendor_name(provider)) == 0

    def test_submission_out_of_reach_is_not_sent(self, connected_to: Callable[[str], Provider], closed_port: int):
        provider = connected_to(f"http://127.0.0.1:{closed_port}")
        with pytest.raises(NotSent):
            send_job(provider, self._spec(provider), key_of("far"))

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "drop_after"},
            {"kind": "drop_before"},
            {"kind": "truncate"},
            {"kind": "status", "status": 500, "accepted": True},
            {"kind": "status", "status": 502, "accepted": True},
            {"kind": "status", "status": 504, "accepted": True},
            {"kind": "status", "status": 200, "accepted": True, "html": True},
        ],
        ids=lambda fault: "-".join(str(value) for value in fault.values()),
    )
    def test_lost_answer_is_a_doubt_that_the_key_ends(
        self, provider: Provider, sandbox: Emulator, fault: dict[str, Any]
    ) -> None:
        members = dict(fault)
        sandbox.admin.fault(members.pop("kind"), self.routes_submit, times=None, **members)
        since = datetime.now(UTC) - timedelta(minutes=5)
        key, spec = key_of("lost", fault), self._spec(provider)
        with pytest.raises(Ambiguous):
            send_job(provider, spec, key)
        sandbox.admin.clear_faults()
        accepted = sandbox.admin.jobs(self.vendor_name(provider))
        assert sandbox.admin.requests(self.routes_submit) == 1, "the client repeated the submission by itself"
        self._skip_without_lookup(provider)
        found = provider.find_submitted([key], since=since, device_ids={spec.device_id})
        assert [hit.vendor_id for hit in found.get(key, ())] == [job["id"] for job in accepted]

    def test_throttled_submission_is_never_a_plain_refusal(self, provider: Provider, sandbox: Emulator) -> None:
        sandbox.admin.fault("status", self.routes_submit, status=429, accepted=False, retry_after=3, times=None)
        with pytest.raises((Ambiguous, Throttled)) as caught:
            send_job(provider, self._spec(provider), key_of("slow"))
        assert caught.value.retry_after_s == 3

    def test_job_that_cannot_run_is_refused_before_anything_is_sent(self, provider: Provider, sandbox: Emulator):
        specs = self.refused_specs(provider)
        assert specs
        before = len(sandbox.admin.journal())
        for spec in specs:
            with pytest.raises(ProgramRejected):
                provider.check(spec)
        assert len(sandbox.admin.journal()) == before

    # -- finding again -----------------------------------------------------------------------------------------

    def test_jobs_are_found_by_their_key_oldest_first(self, provider: Provider, sandbox: Emulator) -> None:
        self._skip_without_lookup(provider)
        since = datetime.now(UTC) - timedelta(minutes=5)
        spec, keys = self._spec(provider), [key_of("find", i) for i in range(4)]
        first = [send_job(provider, spec, key).vendor_id for key in keys[:3]]
        again = send_job(provider, spec, keys[1]).vendor_id  # the same id where the vendor knows idempotency keys
        found = provider.find_submitted(keys, since=since, device_ids={spec.device_id})
        assert set(found) == set(keys[:3])
        assert [found[key][0].vendor_id for key in keys[:3]] == first
        assert [hit.vendor_id for hit in found[keys[1]]] == list(dict.fromkeys([first[1], again]))

    def test_a_stranger_finds_nothing(self, provider: Provider) -> None:
        self._skip_without_lookup(provider)
        spec = self._spec(provider)
        send_job(provider, spec, key_of("mine"))
        since = datetime.now(UTC) - timedelta(minutes=5)
        assert provider.find_submitted([key_of("stranger")], since=since, device_ids={spec.device_id}) == {}

    def test_job_is_found_behind_more_than_a_page_of_others(self, provider: Provider, sandbox: Emulator) -> None:
        self._skip_without_lookup(provider)
        sandbox.admin.clock("frozen")
        since = datetime.now(UTC) - timedelta(minutes=5)
        spec, key = self._spec(provider), key_of("behind")
        vendor_id = send_job(provider, spec, key).vendor_id
        for i in range(provider.capabilities.poll_page + 5):
            send_job(provider, spec, key_of("in front", i))
        found = provider.find_submitted([key], since=since, device_ids={spec.device_id})
        assert [hit.vendor_id for hit in found[key]] == [vendor_id]

    def test_one_provider_serves_several_threads(self, provider: Provider, sandbox: Emulator) -> None:
        specs = [(self._spec(provider, shots=10 + i), key_of("thread", i)) for i in range(16)]
        with ThreadPoolExecutor(6) as pool:
            ids = [accepted.vendor_id for accepted in pool.map(lambda job: send_job(provider, *job), specs)]
            wait(provider, ids)
            jobs = [(vendor_id, *job) for vendor_id, job in zip(ids, specs, strict=True)]
            results = list(pool.map(lambda job: read_result(provider, *job), jobs))
        assert [counts_of(result.items[0]).shots for result in results] == [10 + i for i in range(16)]
        assert sandbox.admin.count_jobs(self.vendor_name(provider)) == 16

    # -- cancelling --------------------------------------------------------------------------------------------

    def test_queued_job_is_cancelled(self, provider: Provider, sandbox: Emulator) -> None:
        sandbox.admin.clock("frozen")
        vendor_id = send_job(provider, self._spec(provider), key_of("cancel")).vendor_id
        assert provider.poll([vendor_id])[vendor_id].phase is Phase.QUEUED
        provider.cancel(vendor_id)
        assert wait(provider, [vendor_id])[vendor_id].phase is Phase.CANCELLED

    def test_cancel_of_a_finished_job_changes_nothing(self, provider: Provider) -> None:
        spec, key = self._spec(provider), key_of("late")
        vendor_id = send_job(provider, spec, key).vendor_id
        assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
        provider.cancel(vendor_id)
        assert provider.poll([vendor_id])[vendor_id].phase is Phase.DONE
        assert counts_of(read_result(provider, vendor_id, spec, key).items[0]).shots == spec.shots

    # -- states ------------------------------------------------------------------------------------------------

    def test_every_documented_status_word_is_mapped(self) -> None:
        assert self.status_words
        assert {word: self.phase_of(word) for word in self.status_words} == dict(self.status_words)

    @pytest.mark.parametrize("word", ["", "undocumented", "None", "DONE?", "0"])
    def test_unknown_status_word_is_unknown(self, word: str) -> None:
        assert self.phase_of(word) is Phase.UNKNOWN

    # -- failures and their text -------------------------------------------------------------------------------

    def test_failed_job_says_why_in_typed_fields(self, provider: Provider, sandbox: Emulator) -> None:
        sandbox.admin.fault("fail_job", self.routes_submit, code="InternalError", message="the laser went off")
        vendor_id = send_job(provider, self._spec(provider), key_of("fails")).vendor_id
        look = wait(provider, [vendor_id])[vendor_id]
        assert look.phase is Phase.FAILED
        assert "laser" in (look.error_message or "")

    @pytest.mark.parametrize("fault", [{"kind": "truncate"}, {"kind": "status", "status": 200, "html": True}], ids=str)
    def test_garbage_in_place_of_a_result_is_never_counts(
        self, provider: Provider, sandbox: Emulator, fault: dict[str, Any]
    ):
        spec, key = self._spec(provider), key_of("garbage")
        vendor_id = send_job(provider, spec, key).vendor_id
        wait(provider, [vendor_id])
        members = dict(fault)
        sandbox.admin.fault(members.pop("kind"), self.routes_result, **members)
        with pytest.raises((Unreadable, Ambiguous)):
            read_result(provider, vendor_id, spec, key)
        assert counts_of(read_result(provider, vendor_id, spec, key).items[0]).shots == spec.shots

    @pytest.mark.parametrize("status", [400, 401, 429, 500, 502])
    def test_secret_shows_in_no_error(
        self, sandbox: Emulator, connected_to: Callable[[str], Provider], status: int
    ) -> None:
        provider = connected_to(sandbox.url)
        sandbox.admin.fault("status", self.routes_submit, status=status, times=None, message=f"bad key {status}")
        with pytest.raises(ProviderError) as caught:
            send_job(provider, self._spec(provider), key_of("canary"))
        self._assert_no_canary(caught.value)

    def test_secret_shows_in_no_error_of_a_broken_connection(
        self, sandbox: Emulator, connected_to: Callable[[str], Provider], closed_port: int
    ) -> None:
        far, near = connected_to(f"http://127.0.0.1:{closed_port}"), connected_to(sandbox.url)
        with pytest.raises(ProviderError) as unreachable:
            send_job(far, self._spec(far), key_of("canary"))
        sandbox.admin.fault("drop_after", self.routes_submit, times=None)
        with pytest.raises(ProviderError) as dropped:
            send_job(near, self._spec(near), key_of("canary"))
        for caught in (unreachable, dropped):
            self._assert_no_canary(caught.value)
        assert CANARY not in repr(near) + str(near) + near.account + repr(vars(near))

    def _assert_no_canary(self, error: ProviderError) -> None:
        assert CANARY not in shown_by(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert error.provider
