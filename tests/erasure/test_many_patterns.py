"""Many passages are sought in one pass: what is found is what a search for each of them finds."""

import random

from tasks.erasure.byte_search import needles_of
from tasks.erasure.many_patterns import ManyPatterns


def test_one_pass_finds_what_a_search_for_each_finds() -> None:
    draw = random.Random(1)

    def some(length: int) -> bytes:
        return bytes(draw.choices(b"abc", k=length))

    for length in (0, 1, 7, 8, 23, 24, 64, 65, 200, 700) * 10:
        data, patterns = some(length), {some(number) for number in range(1, 84)}
        while len(patterns) < 128 and length > 50:
            begin, number = draw.randrange(length), draw.choice([2, 7, 8, 9, 12, 23, 24, 25, 31, 40])
            patterns.add(data[begin : begin + number])
        sought, standing = ManyPatterns(sorted(patterns)), {pattern for pattern in patterns if pattern in data}
        assert sought.all_in(data) == standing
        assert sought.any_in(data) == bool(standing)


def test_needles_of_a_whole_source_are_lines_that_stand_nowhere_else() -> None:
    shared = "This line stands in each of the documents of both of the sources."
    texts = {
        f"old:{number}": {f"{shared}\nThe note of {number} says a thing of its own: {number}."} for number in range(99)
    }
    texts |= {"old:copy": {shared}, "old:odd": {"\ud800 A lone surrogate stands in this line of the text."}}
    others = [f"{shared}\nOther {number}" for number in range(3000)]

    needles = needles_of(texts, others)

    assert needles.undistinctive == ("old:copy",)
    assert len(needles.texts) == 100 and shared not in needles.texts
    assert not needles.stand_in("\n".join(others))
    assert needles.stand_in("it says: The note of 98 says a thing of its own: 98.")
    assert needles.stand_in('{"text": "\\ud800 A lone surrogate stands in this line of the text."}')
