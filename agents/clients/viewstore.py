"""The views in Valkey or Redis: where they stand, and writes that an older position never wins.

    attune:views:current                         the generation that is in use
    attune:views:building                        the one that a rebuild is filling
    attune:views:generations                     set: every generation of which there may be something
    attune:views:<generation>:marks              hash: <topic>/<partition> -> mark, JSON
    attune:views:<generation>:partitions         hash: topic -> over how many partitions the views were made
    attune:views:<generation>:customer:<s>       hash: position, state (JSON)
    attune:views:<generation>:actions:<s>        hash: position, <decision id> -> action, JSON
    attune:views:<generation>:suppressions:<s>   hash: position, <suppression id> -> suppression, JSON

Every write is one script: it looks whether its generation is still the right one, compares positions and writes, and
nothing comes in between.  So any number of writers may write anything again, in any order.
"""

import contextlib
import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError, ResponseError

from agents.clients import viewscripts
from agents.view import NOWHERE, PARTS, STATE, Away, Mark, Moved, StateWrite, Stored, Write

T = TypeVar("T")

_ROOT: Final = "attune:views"
CURRENT: Final = f"{_ROOT}:current"
BUILDING: Final = f"{_ROOT}:building"
GENERATIONS: Final = f"{_ROOT}:generations"
_POSITION: Final = "position"
_CHUNK: Final = 100
"""Customers that one call of a script writes: Redis serves others in between."""
_MARKS_REMEMBERED: Final = 1_024
"""Whoever reads customers reads the same marks again and again."""
_PIPELINE: Final = 10
"""Calls that go out together."""
_UNLINKED: Final = 500
_BUILDING_SECONDS: Final = 60
"""A rebuild that has died is out of the way after so long."""

_STATES, _ENTRIES, _MARKS, _PARTITIONS, _READ, _BEGIN, _BUILD, _KEEP, _SWITCH = map(viewscripts.sha1, viewscripts.ALL)

_TAKEN: Final = "the rebuild paused for so long that another one could begin; run it again"

Call = tuple[str, Sequence[str], Sequence[str | bytes]]
"""SHA-1 of a script, keys, arguments."""

_ENCODE_MARK = msgspec.json.Encoder().encode
_DECODE_MARK = msgspec.json.Decoder(Mark).decode
_DECODE_MARKS = msgspec.msgpack.Decoder(list[str]).decode
_DECODE_READ = msgspec.msgpack.Decoder(tuple[list[str], list[str], list[str], list[str], list[str]]).decode


class ViewStore:
    """Reads and writes views.  Every method raises Away where Redis does not answer."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """Take a client, whose time-out bounds every call."""
        self._client: Any = client

    async def generation(self) -> str | None:
        """Return the generation that is in use, None if there are no views."""
        return _text(await self._asked(lambda: self._client.get(CURRENT)))

    async def begin(self) -> str:
        """Make a first generation unless there is one; return the one in use."""
        (generation,) = await self._run([(_BEGIN, (CURRENT, GENERATIONS), [secrets.token_hex(4)])], "")
        return str(_text(generation))

    async def apply(self, generation: str, writes: Sequence[Write], *, building: bool = False) -> list[int]:
        """Apply writes by position; all of them are done on return.

        Returns for a state 1 if it was written, 0 if it stood there already, -1 if a newer one did; for entries how
        many of them were new.  Raises Moved; some of the writes may then have been applied.
        """
        pointer = BUILDING if building else CURRENT
        results = [0] * len(writes)
        calls: list[Call] = []
        places: list[list[int]] = []
        for of_states in (True, False):
            of_kind = [n for n, write in enumerate(writes) if isinstance(write, StateWrite) is of_states]
            for start in range(0, len(of_kind), _CHUNK):
                places.append(of_kind[start : start + _CHUNK])
                make = _states if of_states else _entries
                calls.append(make(pointer, generation, [writes[n] for n in places[-1]]))
        for start in range(0, len(calls), _PIPELINE):
            answers = await self._run(calls[start : start + _PIPELINE], _moved(generation, building))
            for place, answer in zip(places[start : start + _PIPELINE], answers, strict=True):
                for n, result in zip(place, answer.split(), strict=True):
                    results[n] = int(result)
        return results

    async def marks(self, generation: str) -> dict[str, bytes]:
        """Return the marks as they stand, by source."""
        found = await self._asked(lambda: self._client.hgetall(_key(generation, "marks")))
        return {name.decode(): mark for name, mark in found.items()}

    async def mark(
        self, generation: str, source: str, mark: Mark, known: bytes, *, building: bool = False
    ) -> tuple[bytes, bool]:
        """Replace a mark that stands as `known` (empty for none); return what stands there now, and whether it is ours.

        Another one stands there if somebody else writes it, or if the store has lost what it had acknowledged.
        """
        return (await self.mark_all(generation, [(source, mark, known)], building=building))[0]

    async def mark_all(
        self, generation: str, marks: Sequence[tuple[str, Mark, bytes]], *, building: bool = False
    ) -> list[tuple[bytes, bool]]:
        """Do the same for several sources at once."""
        keys = (BUILDING if building else CURRENT, _key(generation, "marks"))
        wanted = [_ENCODE_MARK(mark) for _, mark, _ in marks]
        arguments: list[str | bytes] = [generation]
        for (source, _, known), encoded in zip(marks, wanted, strict=True):
            arguments += (source, known, encoded)
        (answer,) = await self._run([(_MARKS, keys, arguments)], _moved(generation, building))
        standing = [mark.encode() for mark in _DECODE_MARKS(answer)]
        return [(mark, mark == encoded) for mark, encoded in zip(standing, wanted, strict=True)]

    async def read(self, customer: str) -> Stored:
        """Return one customer, marks and numbers, in one round trip; raises Moved where there are no views at all."""
        (answer,) = await self._run([(_READ, [CURRENT], [_ROOT, customer])], "there are no views")
        return _stored(*map(_pairs, _DECODE_READ(answer)))

    async def standing(self) -> Stored:
        """Return marks and numbers of the generation in use, and nobody; raises Moved where there are no views."""
        return await self.read("")

    async def set_partitions(self, generation: str, numbers: Mapping[str, int], *, building: bool = False) -> None:
        """Say by topic over how many partitions a generation was made; a number never becomes less.  Raises Moved."""
        flat = [text for topic, number in numbers.items() for text in (topic, str(number))]
        keys = (BUILDING if building else CURRENT, _key(generation, "partitions"))
        await self._run([(_PARTITIONS, keys, (generation, *flat))], _moved(generation, building))

    async def customers(self, generation: str) -> AsyncIterator[str]:
        """Yield everybody of whom there is a state, in no order; nobody twice."""
        async for name in self._names(_key(generation, STATE, "*")):
            yield name.rpartition(":")[2]

    async def everything(self, generation: str, customers: Sequence[str]) -> list[Stored]:
        """Return several customers of one generation, without marks."""

        def ask() -> Awaitable[Any]:
            pipe = self._client.pipeline(transaction=False)
            for customer in customers:
                for part in PARTS:
                    pipe.hgetall(_key(generation, part, customer))
            done: Awaitable[Any] = pipe.execute()
            return done

        found = await self._asked(ask)
        texts = ({name.decode(): value.decode() for name, value in one.items()} for one in found)
        each = zip(*[texts] * len(PARTS), strict=True)
        return [_stored(state, actions, suppressions, {}, {}) for state, actions, suppressions in each]

    async def start_building(self) -> str | None:
        """Make a generation beside the one in use; None while another rebuild is at work."""
        call = (_BUILD, (BUILDING, GENERATIONS), (secrets.token_hex(4), str(_BUILDING_SECONDS)))
        (made,) = await self._run([call], _TAKEN)
        return _text(made) or None

    async def keep_building(self, generation: str) -> None:
        """Say that the rebuild is still at work; raises Moved if another one has begun meanwhile."""
        await self._run([(_KEEP, [BUILDING], (generation, str(_BUILDING_SECONDS)))], _TAKEN)

    async def switch(self, generation: str) -> str | None:
        """Put the generation that was built into use, at once and whole; return the one that was.  Raises Moved."""
        (replaced,) = await self._run([(_SWITCH, (BUILDING, CURRENT), [generation])], _TAKEN)
        return _text(replaced) or None

    async def give_up(self, generation: str) -> None:
        """Remove a generation that is not in use, and the sign that it is being built."""
        if await self.generation() == generation:
            raise ValueError(f"generation {generation} is in use")
        with contextlib.suppress(Moved):  # then it is not being built
            await self._run([(_KEEP, [BUILDING], [generation])], _TAKEN)
        await self._remove(_key(generation, "*"), {generation})

    async def sweep(self, *, whole: bool = False) -> int:
        """Remove every generation that is neither in use nor being built; return how many those were.

        Whoever died left them: no generation is ever taken up again.  Only with `whole`, which looks through all names
        that Redis has, those are found too that an older release left.
        """
        listed = {_text(name) or "" for name in await self._asked(lambda: self._client.smembers(GENERATIONS))}
        dead = listed - await self._living()
        return await self._remove(f"{_ROOT}:*", dead, others=whole) if dead or whole else 0

    async def _living(self) -> set[str]:
        """Return the generations that are in use and being built."""
        return {name.decode() for name in await self._asked(lambda: self._client.mget(CURRENT, BUILDING)) if name}

    async def _remove(self, pattern: str, dead: set[str], *, others: bool = False) -> int:
        """Remove generations bit by bit, with `others` also those that are met and not living; return how many."""
        names: list[str] = []
        async for name in self._names(pattern):
            generation, _, rest = name.removeprefix(f"{_ROOT}:").partition(":")
            if rest and others and generation not in dead and generation not in await self._living():
                dead = {*dead, generation}
            if rest and generation in dead:
                names.append(name)
            if len(names) == _UNLINKED:
                await self._unlink(names)
                names = []
        await self._unlink(names)
        if dead:
            await self._asked(lambda: self._client.srem(GENERATIONS, *dead))
        return len(dead)

    async def _unlink(self, names: list[str]) -> None:
        if names:
            await self._asked(lambda: self._client.unlink(*names))

    async def _names(self, pattern: str) -> AsyncIterator[str]:
        cursor, seen = 0, set[bytes]()
        while True:
            ask = functools.partial(self._client.scan, cursor, match=pattern, count=1_000)
            cursor, found = await self._asked(ask)
            for name in found:
                if name not in seen:
                    seen.add(name)
                    yield name.decode()
            if cursor == 0:
                return

    async def _run(self, calls: Sequence[Call], moved: str) -> list[Any]:
        """Run scripts in one pipeline, loading them where a server that was started anew does not know them.

        Raises Moved with the words `moved` where one of them finds another generation than it was meant for.
        """
        ask = functools.partial(self._called, calls)
        answers = await self._asked(ask)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            for text in viewscripts.ALL:
                await self._asked(functools.partial(self._client.script_load, text))
            answers = await self._asked(ask)
        for answer in answers:
            if isinstance(answer, Exception):
                raise Away(f"Redis refused a write: {answer}") from answer
        if viewscripts.MOVED in answers:
            raise Moved(moved)
        return answers

    async def _called(self, calls: Sequence[Call]) -> list[Any]:
        """Call scripts and return what each answers, errors too."""
        if len(calls) == 1:  # a pipeline costs a third more
            ((sha, keys, arguments),) = calls
            try:
                return [await self._client.evalsha(sha, len(keys), *keys, *arguments)]
            except ResponseError as error:
                return [error]
        pipe = self._client.pipeline(transaction=False)
        for sha, keys, arguments in calls:
            pipe.evalsha(sha, len(keys), *keys, *arguments)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except (RedisError, OSError) as error:
            raise Away(f"Redis does not answer: {error or type(error).__name__}") from error


@functools.lru_cache(_MARKS_REMEMBERED)
def parse_mark(stored: bytes | None) -> Mark | None:
    """Read a mark as it stands in the store; None where there is none, or one that this release cannot read."""
    if not stored:
        return None
    try:
        return _DECODE_MARK(stored)
    except msgspec.MsgspecError:
        return None


def _states(pointer: str, generation: str, writes: Sequence[Any]) -> Call:
    keys = [pointer]
    arguments: list[str | bytes] = [generation]
    for write in writes:
        keys.append(_key(generation, STATE, write.customer))
        arguments += (write.position, write.document or b"")
    return _STATES, keys, arguments


def _entries(pointer: str, generation: str, writes: Sequence[Any]) -> Call:
    keys = [pointer]
    arguments: list[str | bytes] = [generation]
    for write in writes:
        keys.append(_key(generation, write.part, write.customer))
        arguments.append(str(len(write.entries)))
        for entry in write.entries:
            arguments += (entry.position, entry.id, entry.document or b"", entry.now)
    return _ENTRIES, keys, arguments


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    """Return a hash that came as fields and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _stored(
    state: dict[str, str],
    actions: dict[str, str],
    suppressions: dict[str, str],
    marks: Mapping[str, str],
    partitions: Mapping[str, str],
) -> Stored:
    document = state.get("state")
    return Stored(
        state_position=state.get(_POSITION, NOWHERE),
        state=None if document is None else document.encode(),
        actions_position=actions.pop(_POSITION, NOWHERE),
        actions={id_: actions[id_].encode() for id_ in sorted(actions)},
        suppressions_position=suppressions.pop(_POSITION, NOWHERE),
        suppressions={id_: suppressions[id_].encode() for id_ in sorted(suppressions)},
        marks={name: parse_mark(mark.encode()) for name, mark in marks.items()},
        partitions={topic: int(number) for topic, number in partitions.items()},
    )


def _key(generation: str, *parts: str) -> str:
    return ":".join((_ROOT, generation, *parts))


def _moved(generation: str, building: bool) -> str:
    return _TAKEN if building else f"the generation of the views is not, or no longer, in use: {generation}"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
