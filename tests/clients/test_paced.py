import threading

import pytest

from tests.support.scripted_endpoint import ManualClock
from transforms.clients.paced import MemoryCell, Pacer
from transforms.clients.run_switch import RunSwitch
from transforms.core.pacing import Announced, Quota, open_pace, share_quota
from transforms.errors import ProviderRefused, RunInterrupted


def make(quota: Quota, clock: ManualClock, switch: RunSwitch | None = None, real: bool = False) -> Pacer:
    settings = share_quota(quota, 1)
    cell = MemoryCell(open_pace(settings, clock()))
    return Pacer(
        settings, cell, switch or RunSwitch(), clock=clock, jitter=lambda: 0.5, wait=None if real else clock.nap
    )


def test_requests_leave_at_the_stated_pace() -> None:
    clock = ManualClock()
    pacer = make(Quota(600, None, 2), clock)
    start = clock.now
    for _ in range(101):
        pacer.release(pacer.admit(1, 10))
    assert clock.now - start == pytest.approx(100 / (0.99 * 10) - 0.5, abs=0.2)
    assert pacer.held_by() == {"requests_per_minute": pytest.approx(clock.now - start)}


def test_tokens_hold_requests_back() -> None:
    clock = ManualClock()
    pacer = make(Quota(None, 60_000, 2), clock)
    pacer.release(pacer.admit(1, 5000))
    pacer.release(pacer.admit(1, 5000))
    assert clock.now - 1000 == pytest.approx(5000 / 990 - 0.5, abs=0.05)
    assert list(pacer.held_by()) == ["tokens_per_minute"]


def test_usage_gives_credit_back() -> None:
    clock = ManualClock()
    pacer = make(Quota(None, 60_000, 2), clock)
    ticket = pacer.admit(1, 5000)
    pacer.release(ticket)
    pacer.accepted(ticket, 10, Announced())
    pacer.release(pacer.admit(1, 5000))
    assert clock.now == 1000


def test_a_refusal_holds_the_next_request_back() -> None:
    clock = ManualClock()
    pacer = make(Quota(concurrent_requests=2), clock)
    ticket = pacer.admit(1, 1)
    pacer.release(ticket)
    pacer.refused(ticket, 4.0, Announced())
    pacer.admit(1, 1)
    assert clock.now == pytest.approx(1004)


def test_a_saturated_server_gets_fewer_requests_at_once() -> None:
    clock = ManualClock()
    pacer = make(Quota(concurrent_requests=2), clock, real=True)
    ticket = pacer.admit(1, 1)
    pacer.saturated(ticket)
    admitted = threading.Event()

    def second() -> None:
        pacer.admit(1, 1)
        admitted.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not admitted.is_set()
    pacer.release(ticket)
    assert admitted.wait(10)
    thread.join(10)


def test_stopping_frees_those_who_wait() -> None:
    switch = RunSwitch()
    pacer = make(Quota(1, None, 1), ManualClock(), switch, real=True)
    pacer.release(pacer.admit(1, 1))
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            pacer.admit(1, 1)
        except RunInterrupted as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    switch.turn_off(RunInterrupted("enough"))
    for thread in threads:
        thread.join(10)
    assert [str(error) for error in errors] == ["enough"] * 5


def test_stopping_wakes_whoever_naps() -> None:
    switch = RunSwitch()
    pacer = make(Quota(1, None, 1), ManualClock(), switch, real=True)
    assert not pacer._freed.is_set()
    switch.turn_off(RunInterrupted("enough"))
    assert pacer._freed.is_set()


def test_a_place_is_given_back_when_the_wait_is_interrupted() -> None:
    clock, switch = ManualClock(), RunSwitch()
    settings = share_quota(Quota(1, None, 1), 1)
    cell = MemoryCell(open_pace(settings, clock()))

    def turn_off(seconds: float) -> None:
        switch.turn_off(RunInterrupted("enough"))

    pacer = Pacer(settings, cell, switch, clock=clock, wait=turn_off)
    pacer.release(pacer.admit(1, 1))
    with pytest.raises(RunInterrupted):
        pacer.admit(1, 1)
    assert cell.take_slot(1) == 0


def test_the_first_reason_stays() -> None:
    switch = RunSwitch()
    switch.check()
    assert switch.is_off is False
    switch.turn_off(ProviderRefused("first"))
    switch.turn_off(ProviderRefused("second"))
    assert switch.is_off is True
    with pytest.raises(ProviderRefused, match="first"):
        switch.wait(60)
