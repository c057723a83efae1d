"""The fixed conversations that trainer and server are both asked: Almanac's own, with nothing of a corpus."""

from collections.abc import Mapping

from tasks.answer.prompt import Messages, Prompt, render
from tasks.index.passage import Passage

_LAMP = (
    "The lamp of the northern lighthouse turns once in twelve seconds. Its keeper winds the clockwork every morning "
    "at six, and writes the hour into the blue book beside the door."
)
_BOAT = (
    "The supply boat comes on Tuesdays, except in January. It brings oil, flour and letters, and takes the blue book "
    "of the month before to the harbour master."
)


def conversations(prompt: Prompt) -> Mapping[str, Messages]:
    """Return the conversations by name, as a model with this prompt reads them.

    Two questions stand behind the same passages: a server that keeps what it has read answers the second from there.
    The turns of the last one show the whole of a chat template.
    """
    passages = [_passage(1, "The lamp", _LAMP), _passage(2, "The supply boat", _BOAT)]
    return {
        "passages": render(prompt, "How often does the lamp turn?", passages),
        "the same passages": render(prompt, "On which day does the boat come?", passages),
        "no answer": render(prompt, "How tall is the lighthouse?", passages[1:]),
        "several turns": [
            {"role": "user", "content": "Which colour is the book beside the door?"},
            {"role": "assistant", "content": "It is blue."},
            {"role": "user", "content": "Say that again in one sentence."},
        ],
    }


def _passage(number: int, title: str, text: str) -> Passage:
    name = f"parity-{number}"
    return Passage(name, name, "", "", title, "", text, 0, len(text), 0.0, None, None)
