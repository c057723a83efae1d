"""The bounds of the answer cache, and what its key holds."""

import datetime as dt

from tasks.answer.answer import Answer
from tasks.answer.cache import AnswerCache, CacheKey, access_digest
from tasks.corpus.document import EVERYONE
from tasks.index.access import AccessMap, access_id

SETS = {frozenset({"staff"}), frozenset({"board"}), frozenset({EVERYONE})}
ACCESS = AccessMap({access_id(groups): groups for groups in SETS}, {})


def key(name: str) -> CacheKey:
    return CacheKey(name, "1", "base", "all")


def put(cache: AnswerCache, name: str, answer: Answer, *, valid_until: dt.datetime | None = None) -> None:
    cache.put(key(name), answer, valid_until=valid_until)


def test_answers_used_longest_ago_give_way(answer: Answer) -> None:
    cache = AnswerCache(max_entries=2, max_bytes=1_000_000)
    put(cache, "a", answer)
    put(cache, "b", answer)
    assert cache.get(key("a")) == answer
    put(cache, "c", answer)
    assert [cache.get(key(name)) is not None for name in "abc"] == [True, False, True]
    assert cache.num_entries == 2


def test_bytes_are_bounded_and_counted(answer: Answer) -> None:
    size = len(repr(answer))
    cache = AnswerCache(max_entries=100, max_bytes=2 * size)
    for name in "abcd":
        put(cache, name, answer)
    assert (cache.num_entries, cache.size_bytes) == (2, 2 * size)
    put(cache, "d", answer)
    assert (cache.num_entries, cache.size_bytes) == (2, 2 * size)
    assert AnswerCache(max_entries=9, max_bytes=size - 1).get(key("a")) is None


def test_no_entry_is_kept_where_none_is_wanted(answer: Answer) -> None:
    cache = AnswerCache(max_entries=0, max_bytes=1_000_000)
    put(cache, "a", answer)
    assert cache.get(key("a")) is None


def test_entry_ends_with_its_time(answer: Answer) -> None:
    cache = AnswerCache(max_entries=9, max_bytes=1_000_000)
    now = dt.datetime.now(dt.UTC)
    put(cache, "past", answer, valid_until=now)
    put(cache, "future", answer, valid_until=now + dt.timedelta(hours=1))
    assert (cache.get(key("past")), cache.get(key("future"))) == (None, answer)
    assert cache.num_entries == 1


def test_access_is_the_same_for_those_who_may_read_the_same() -> None:
    assert access_digest(ACCESS, ("staff",)) == access_digest(ACCESS, ("staff", "unknown"))
    assert access_digest(ACCESS, ("staff",)) != access_digest(ACCESS, ("board",))
    assert access_digest(ACCESS, ()) != access_digest(ACCESS, ("staff",))


def test_access_changes_with_what_was_learned_of_a_document() -> None:
    closed = AccessMap(ACCESS.sets, {"wiki:a": frozenset({"board"})})
    opened = AccessMap(ACCESS.sets, {"wiki:a": frozenset({"staff"})})
    digests = [access_digest(access, ("staff",)) for access in (ACCESS, closed, opened)]
    assert len(set(digests)) == 3
