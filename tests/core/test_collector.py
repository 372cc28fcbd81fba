import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from apollo.errors import Stale, Unavailable
from apollo.usecases import collector
from apollo.usecases.collector import SET_MAX, Collector, Overloaded


class Books:
    """Writes down every set; holds back while `open` is not set."""

    def __init__(self) -> None:
        self.sets: list[list[int]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def write(self, items: Sequence[int]) -> Sequence[int]:
        self.sets.append(list(items))
        self.begun.set()
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        if any(item < 0 for item in items):
            raise ValueError("a bad item")
        return [item * 10 for item in items]


async def put_all(items: Collector[int, int], wanted: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(items.put(n) for n in wanted), return_exceptions=True)


async def test_a_lone_item_is_written_at_once_and_alone() -> None:
    books = Books()
    assert await Collector(books.write).put(7) == 70
    assert books.sets == [[7]]


async def test_while_a_set_is_written_the_next_one_forms() -> None:
    books = Books()
    items = Collector(books.write)
    books.open.clear()
    first = asyncio.create_task(items.put(0))
    await books.begun.wait()
    rest = asyncio.create_task(put_all(items, range(1, 100)))
    await asyncio.sleep(0)
    books.open.set()
    assert await rest == [n * 10 for n in range(1, 100)]
    assert await first == 0
    assert books.sets == [[0], list(range(1, 100))]


async def test_a_set_is_written_in_nobodys_name() -> None:
    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen = []

    async def write(items: Sequence[int]) -> Sequence[int]:
        seen.append(request.get())
        return items

    request.set("the first one's")
    await Collector(write).put(1)
    assert seen == ["nobody's"]


async def test_a_set_has_a_largest_size() -> None:
    books = Books()
    await put_all(Collector(books.write), range(2 * SET_MAX + 1))
    assert [len(one) for one in books.sets] == [SET_MAX, SET_MAX, 1]


async def test_one_bad_item_does_not_take_the_others_down() -> None:
    books = Books()
    answers = await put_all(Collector(books.write), [1, -2, 3])
    assert [answers[0], answers[2]] == [10, 30]
    assert isinstance(answers[1], ValueError)
    assert books.sets == [[1, -2, 3], [1], [-2], [3]]


@pytest.mark.parametrize("fault", [Unavailable("away"), Stale("lost")])
async def test_everybody_hears_that_nothing_was_written(fault: Exception) -> None:
    books = Books()
    books.fault = fault
    answers = await put_all(Collector(books.write), [1, 2, 3])
    assert answers == [fault] * 3
    assert len(books.sets) == 1, "what is away is not asked again for each item"


async def test_after_an_outage_the_next_item_is_written() -> None:
    books = Books()
    items = Collector(books.write)
    books.fault = Unavailable("away")
    await put_all(items, [1])
    books.fault = None
    assert await items.put(2) == 20


async def test_too_many_waiting_items_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "WAITING_MAX", 3)
    books = Books()
    items = Collector(books.write)
    books.open.clear()
    waiting = [asyncio.create_task(items.put(0))]
    await books.begun.wait()
    waiting += [asyncio.create_task(items.put(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await asyncio.wait_for(items.put(4), timeout=5)
    books.open.set()
    assert await asyncio.gather(*waiting) == [0, 10, 20, 30]


async def test_who_gave_up_waiting_disturbs_nobody() -> None:
    books = Books()
    items = Collector(books.write)
    books.open.clear()
    impatient = asyncio.create_task(items.put(1))
    patient = asyncio.create_task(items.put(2))
    await books.begun.wait()
    impatient.cancel()
    books.open.set()
    assert await patient == 20
    assert await items.put(3) == 30


async def test_drain_returns_when_everything_was_written() -> None:
    books = Books()
    items = Collector(books.write)
    waiting = [asyncio.create_task(items.put(n)) for n in range(SET_MAX + 1)]
    await asyncio.sleep(0)
    await items.drain(within_s=5)
    assert sum(len(one) for one in books.sets) == SET_MAX + 1
    assert all(task.done() for task in waiting) or await asyncio.gather(*waiting)


async def test_drain_gives_up_a_write_that_hangs() -> None:
    books = Books()
    items = Collector(books.write)
    books.open.clear()

    async def again_and_again() -> None:
        while True:
            await items.put(1)

    waiting = asyncio.create_task(again_and_again())
    await books.begun.wait()
    async with asyncio.timeout(5):
        await items.drain(within_s=0.05)
    waiting.cancel()
