"""Training and test data of SQuAD: parameters, golden questions, and examples whose questions share passages.

Paragraphs are cut into pieces of at most `max_passage_tokens`, as the answerer reads them. Splits go by article: the
set's own test articles with as many train articles as make `NUM_TEST` questions, and some train articles held out for
validation. Paragraphs of the many articles that have no questions can add synthetic ones, by the rules of
`tasks.model.examples.synthetic`.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.squad.data import Asked, Piece, SquadData, cut_pieces, read_records
from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.prompt import NOT_FOUND
from tasks.model.examples.example import Example, ExamplePassage, Origin, example_id
from tasks.model.examples.synthetic import CLOZE, SyntheticQuestion, holds_span, make_questions

NUM_PASSAGES = 3
NUM_VARIANTS = 3
"""Contexts in which each piece that answers a question is shown in training."""
RANDOM_SHARE = 0.25
UNANSWERABLE_SHARE = 0.22
MAX_BRANCHES = 9
MAX_GAPS = 2

CHATS = (
    "Name three primary colours.",
    "Write a short poem about the sea.",
    "What is the boiling point of water at sea level?",
    "Explain what a compiler does in one sentence.",
    "Give me two tips for sleeping better.",
    "What is the largest planet in the solar system?",
    "Translate 'good morning' into Spanish.",
    "Who painted the Mona Lisa?",
    "What is 12 times 9?",
    "List the days of the week.",
    "Describe a cat to somebody who has never seen one.",
    "What language is spoken in Brazil?",
    "How many legs does a spider have?",
    "Why is the sky blue?",
    "Suggest a name for a coffee shop.",
    "What do bees make?",
    "Write one sentence about autumn.",
    "What is the chemical symbol of gold?",
    "Which ocean lies between Europe and America?",
    "How do I boil an egg?",
    "Who wrote Romeo and Juliet?",
    "What is the opposite of hot?",
    "Name a programming language and say what it is used for.",
    "In which continent is Egypt?",
    "What is photosynthesis?",
    "Write an email that asks for a day off.",
    "What is the freezing point of water in Celsius?",
    "How many minutes are in an hour?",
    "What is the capital of Spain?",
    "Say hello politely.",
    "What instrument has 88 keys?",
    "Which animal is known as the king of the jungle?",
    "What is a prime number?",
    "Give an example of a mammal.",
    "Who was the first president of the United States?",
    "What is the main ingredient of bread?",
    "Tell me a fun fact about the moon.",
    "What does a thermometer measure?",
    "How many continents are there?",
    "Recommend a hobby for rainy days.",
)
"""Chats of replay; none is a question of the forgetting probe."""


def make_examples(
    data: SquadData,
    generator: TransformersGenerator,
    *,
    num_synthetic: int,
    max_passage_tokens: int,
    seed: int = 7,
) -> Iterator[Example]:
    """Train and validation examples, synthetic ones over `num_synthetic` contexts, and replay."""
    rng = random.Random(seed)
    for split, num_variants in (("train", NUM_VARIANTS), ("validation", 1)):
        yield from _contexts(data, split, num_variants, rng)
    yield from _synthetic(data, generator.count_tokens, num_synthetic, max_passage_tokens, rng)
    yield from _replay(data, generator, rng)


def oracle_examples(data: SquadData, split: str, *, seed: int = 11) -> list[tuple[Example, Example]]:
    """For each question: gold among two near distractors of the whole corpus, shuffled; and gold removed."""
    rng = random.Random(seed)
    pairs = []
    for number, question in enumerate(data.asked):
        if question.split == split:
            others = _without_answer(data, question, range(len(data.pieces)))
            near = data.nearest(data.question_vectors[number], others, NUM_PASSAGES)
            shown = [question.gold, *near[: NUM_PASSAGES - 1]]
            rng.shuffle(shown)
            rng.shuffle(near)
            pairs.append((_example(data, question, shown), _example(data, question, near)))
    return pairs


def _contexts(data: SquadData, split: str, num_variants: int, rng: random.Random) -> Iterator[Example]:
    by_piece: dict[int, list[Asked]] = defaultdict(list)
    vectors: dict[int, list[Any]] = defaultdict(list)
    for number, question in enumerate(data.asked):
        if question.split == split:
            by_piece[question.gold].append(question)
            vectors[question.gold].append(data.question_vectors[number])
    articles = {data.pieces[gold].article for gold in by_piece}
    pool = [number for number, piece in enumerate(data.pieces) if piece.article in articles]
    for variant in range(num_variants):
        for gold, questions in by_piece.items():
            vector = vectors[gold][variant % len(questions)]
            others = _distractors(data, gold, vector, pool, rng)
            shown = [gold, *others]
            rng.shuffle(shown)
            yield from _branches(data, shown, by_piece, gold, rng)


def _distractors(data: SquadData, gold: int, vector: Any, pool: Sequence[int], rng: random.Random) -> list[int]:
    allowed = [number for number in pool if number != gold]
    near = data.nearest(vector, allowed, 6)
    picked = rng.sample(near[:4], NUM_PASSAGES - 1)
    if rng.random() < RANDOM_SHARE:
        picked[0] = rng.choice([number for number in allowed if number not in picked])
    return picked


def _branches(
    data: SquadData, shown: Sequence[int], by_piece: dict[int, list[Asked]], gold: int, rng: random.Random
) -> Iterator[Example]:
    """Questions that these passages answer, and some of the same article that they do not."""
    answered = list(by_piece[gold])
    for number in shown:
        if number != gold:
            answered.extend(by_piece.get(number, [])[:2])
    answered = answered[:MAX_BRANCHES]
    article = data.pieces[gold].article
    context = " ".join(data.pieces[number].text for number in shown).casefold()
    absent = [
        question
        for piece, questions in by_piece.items()
        if data.pieces[piece].article == article and piece not in shown
        for question in questions
        if question.answers[0].casefold() not in context
    ]
    wanted = len(answered) * UNANSWERABLE_SHARE / (1 - UNANSWERABLE_SHARE)
    count = int(wanted) + (rng.random() < wanted % 1)
    for question in [*answered, *rng.sample(absent, min(count, len(absent)))]:
        yield _example(data, question, shown)


def _synthetic(
    data: SquadData, count_tokens: Callable[[str], int], num_contexts: int, max_tokens: int, rng: random.Random
) -> Iterator[Example]:
    """Questions made by rules over three pieces of one article that has no question of the set."""
    asked = {piece.article for piece in data.pieces}
    articles: dict[str, dict[Piece, list[SyntheticQuestion]]] = defaultdict(dict)
    for record in read_records("corpus_large.jsonl") if num_contexts else []:
        if record["_id"].partition("#")[0] not in asked:
            piece = next(cut_pieces(record, count_tokens, max_tokens))
            articles[piece.article][piece] = make_questions(piece.passage().as_passage())
    names = sorted(name for name, made in articles.items() if len(_rich(made)) >= NUM_PASSAGES)
    for _ in range(num_contexts):
        made = articles[rng.choice(names)]
        shown = [
            *rng.sample(_rich(made), NUM_PASSAGES - 1),
            rng.choice(sorted(made, key=lambda piece: piece.paragraph)),
        ]
        if len(set(shown)) == NUM_PASSAGES:
            rng.shuffle(shown)
            yield from _made_branches(made, shown, rng)


def _rich(asked: Mapping[Piece, Sequence[SyntheticQuestion]]) -> list[Piece]:
    """Pieces of which a rule asks something, not only a gap to be filled."""
    return sorted(
        (piece for piece, questions in asked.items() if any(one.how != CLOZE for one in questions)),
        key=lambda piece: piece.paragraph,
    )


def _made_branches(
    by_piece: Mapping[Piece, Sequence[SyntheticQuestion]], shown: Sequence[Piece], rng: random.Random
) -> Iterator[Example]:
    """Questions whose answer stands in one piece alone, few gaps among them, and some that no piece answers."""
    passages = tuple(piece.passage() for piece in shown)
    asked = [(place, one) for place, piece in enumerate(shown, start=1) for one in by_piece[piece]]
    answered = _few_gaps([pair for pair in asked if _num_holding(shown, pair[1]) == 1], rng)
    others = [(0, one) for piece in by_piece if piece not in shown for one in by_piece[piece]]
    absent = _few_gaps([pair for pair in others if _num_holding(shown, pair[1]) == 0], rng)
    wanted = len(answered) * UNANSWERABLE_SHARE / (1 - UNANSWERABLE_SHARE)
    for place, one in [*answered, *absent[: int(wanted) + (rng.random() < wanted % 1)]]:
        answer, support = (f"{one.answer} [{place}]", (place,)) if place else (NOT_FOUND, ())
        yield _record(one.question, passages, answer, support, "synthetic", one.how, shown[0].article, "train")


def _num_holding(shown: Sequence[Piece], one: SyntheticQuestion) -> int:
    return sum(holds_span(piece.text, one.answer) for piece in shown)


def _few_gaps(
    asked: Sequence[tuple[int, SyntheticQuestion]], rng: random.Random
) -> list[tuple[int, SyntheticQuestion]]:
    """At most `MAX_BRANCHES` in a random order, at most `MAX_GAPS` of them sentences with a gap."""
    gaps = [pair for pair in asked if pair[1].how == CLOZE]
    chosen = [pair for pair in asked if pair[1].how != CLOZE] + rng.sample(gaps, min(MAX_GAPS, len(gaps)))
    return rng.sample(chosen, min(MAX_BRANCHES, len(chosen)))


def _without_answer(data: SquadData, question: Asked, numbers: Sequence[int]) -> list[int]:
    """Pieces of other paragraphs in which none of the question's answers stands."""
    paragraph = data.pieces[question.gold].paragraph
    answers = [answer.casefold() for answer in question.answers]
    return [
        number
        for number in numbers
        if data.pieces[number].paragraph != paragraph
        and not any(answer in data.pieces[number].text.casefold() for answer in answers)
    ]


def _example(data: SquadData, question: Asked, shown: Sequence[int]) -> Example:
    support = tuple(place for place, number in enumerate(shown, start=1) if number == question.gold)
    answer = f"{question.answers[0]} [{support[0]}]" if support else NOT_FOUND
    passages = tuple(data.pieces[number].passage() for number in shown)
    article = data.pieces[question.gold].article
    split = "train" if question.split == "train" else "validation"
    return _record(question.question, passages, answer, support, "golden", question.id, article, split)


def _replay(data: SquadData, generator: TransformersGenerator, rng: random.Random) -> Iterator[Example]:
    """Chats with the untrained model's own answers, and paragraphs to be talked about."""
    for start in range(0, len(CHATS), 8):
        chats = CHATS[start : start + 8]
        written = generator.generate_many([[{"role": "user", "content": chat}] for chat in chats], max_new_tokens=40)
        for chat, generation in zip(chats, written, strict=True):
            yield _record(chat, (), generation.text or "I do not know.", (), "replay", "chat", "", "train")
    articles = {data.pieces[question.gold].article for question in data.asked if question.split == "train"}
    texts = [piece.text for piece in data.pieces if piece.article in articles]
    for text in rng.sample(texts, len(CHATS)):
        yield _record(text, (), "Thank you.", (), "replay", "text", "", "train")


def _record(
    question: str,
    passages: tuple[ExamplePassage, ...],
    answer: str,
    support: tuple[int, ...],
    origin: Origin,
    how: str,
    article: str,
    split: Any,
) -> Example:
    identity = example_id(question, passages, answer)
    return Example(identity, question, passages, answer, None, support, origin, how, article, "squad", article, split)
