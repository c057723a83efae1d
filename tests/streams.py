"""What a generator streams, read to its end."""

from tasks.answer.generators.base import Generation, TextStream


def collect(stream: TextStream) -> Generation:
    while True:
        try:
            next(stream)
        except StopIteration as end:
            generation: Generation = end.value
            return generation
