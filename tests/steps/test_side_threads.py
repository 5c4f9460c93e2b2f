import threading

import pytest

from transforms.side_threads import SideThreads


def text_length(text: str) -> int:
    return len(text)


def test_items_come_back_in_their_order_with_what_became_of_them() -> None:
    second_is_done = threading.Event()

    def work(text: str) -> str:
        if text == "first":
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return text.upper()

    threads = SideThreads(work, text_length)
    found = [*threads.add("first"), *threads.add("second"), *threads.drain()]
    threads.close()
    assert [(item, future.result()) for item, future in found] == [("first", "FIRST"), ("second", "SECOND")]


def test_what_the_work_raises_comes_back_with_its_item() -> None:
    def work(text: str) -> str:
        raise ValueError(f"cannot cut {text}")

    threads = SideThreads(work, text_length)
    ((item, future), *_) = [*threads.add("this"), *threads.drain()]
    threads.close()
    with pytest.raises(ValueError, match="cannot cut this"):
        future.result()
    assert item == "this"


def test_items_are_held_back_only_as_far_as_memory_allows() -> None:
    threads = SideThreads(text_length, text_length)
    text = "x" * 3_000_000
    counts = [len(list(threads.add(text))) for _ in range(5)]
    threads.close()
    assert counts == [0, 0, 1, 1, 1]


def test_one_item_over_the_limit_is_done_at_once() -> None:
    threads = SideThreads(text_length, text_length)
    assert [future.result() for _, future in threads.add("x" * 9_000_000)] == [9_000_000]
    threads.close()


def test_items_of_an_abandoned_bundle_do_not_come_back() -> None:
    threads = SideThreads(text_length, text_length)
    assert list(threads.add("old")) == []
    threads.forget()
    assert [item for item, _ in [*threads.add("new"), *threads.drain()]] == ["new"]
    threads.close()
