"""The table of `almanac advise`: what counts, how much, and why. Data alone; `tasks.advise.scorecard` adds it up.

Points stand in the order of `Strategy`: neither, retrieval alone, RAG, fine-tuning alone, both.

Retrieval carries facts and fine-tuning carries form: that is the axis of most lines. What was measured with this
software (docs/compare.md): on articles that no example came from, a model of 135 million parameters answers closed-book
with an `answer_f1` of .03 before and after fine-tuning, and with passages .30 before and .49 after.
"""

from tasks.advise.scorecard import Criterion, Level
from tasks.advise.strategy import Strategy

_N, _E, _R, _T, _B = Strategy
_READS = (_E, _R, _B)

MIN_EXAMPLES = 50
"""Below this the example gate refuses the set (`example_gate.min_examples` of the default params.yaml)."""

GOAL = (
    Criterion(
        "knowledge",
        "Facts from your own documents",
        "goal",
        "quality",
        3,
        "A model knows what it was trained on; what stands in your documents it has from passages, or invents.",
        "How many of the questions have their answer in your own documents?",
        (
            Level(
                "none", "the answers stand in no document", (0, -2, -2, 0, -2), "retrieval would find nothing to use"
            ),
            Level("some", "some answers stand in your documents", (-1, 0, 1, -1, 1), "passages carry those facts"),
            Level(
                "most",
                "most answers stand in your documents",
                (-2, 1, 2, -2, 2),
                "passages carry the facts, weights do not",
            ),
        ),
    ),
    Criterion(
        "form",
        "A form of your own (voice, terms, layout)",
        "goal",
        "quality",
        3,
        "Training changes form reliably, a prompt in part; where it must hold, an answer without it is wrong.",
        "How much does it matter that answers have your own voice, terminology or layout?",
        (
            Level("none", "any clear answer will do", (0, 0, 0, -1, -1), "there is no form to learn"),
            Level(
                "some",
                "it is wanted, a prompt may be enough",
                (0, -1, 0, 0, 0),
                "an instruction in the prompt comes first",
            ),
            Level("must", "every answer must have it", (-1, -2, -1, 2, 2), "examples teach form; passages do not"),
        ),
    ),
    Criterion(
        "written",
        "Written answers",
        "goal",
        "quality",
        2,
        "Whether a model has to write at all decides between search and RAG, in speed and in what can go wrong.",
        "Must an answer be written for the question, or does the right passage, cited, do?",
        (
            Level(
                "passage",
                "the right passage, cited, is an answer",
                (-1, 2, 0, -1, 0),
                "what nobody writes nobody invents",
            ),
            Level(
                "written", "answers must be written for the question", (0, -2, 1, 1, 1), "passages alone are not enough"
            ),
        ),
    ),
)

KNOWLEDGE = (
    Criterion(
        "change_rate",
        "Documents that change in a month",
        "how dynamic the knowledge is",
        "freshness",
        3,
        "An index follows with the next refresh, weights with the next retrain: with four retrains a year, 5 % a month "
        "are up to 15 % of outdated documents before the next one, and 20 % are about half.",
        "Which share of the documents changes in a month (0.05 is one in twenty)?",
        (
            Level("stable", "less than 1 % a month", (0, 0, 0, 0, 0), at_least=0),
            Level(
                "slow",
                "1 to 5 % a month",
                (-1, 0, 0, -1, 0),
                "weights fall behind from quarter to quarter",
                at_least=0.01,
            ),
            Level(
                "changing",
                "5 to 20 % a month",
                (-2, 1, 1, -2, 1),
                "weights are wrong before the next retrain",
                at_least=0.05,
            ),
            Level(
                "fast",
                "20 % a month or more",
                (-2, 2, 2, -2, 1),
                "only an index keeps up",
                at_least=0.2,
                rules_out=(_T,),
            ),
        ),
    ),
    Criterion(
        "max_age_days",
        "How old an answer's facts may be",
        "how dynamic the knowledge is",
        "freshness",
        2,
        "A refresh takes minutes, a retrain an evaluation and a person: what must be right tomorrow cannot wait.",
        "How many days may pass until a changed document must show in the answers?",
        (
            Level("day", "a day", (-2, 2, 2, -2, 1), "only an index follows so soon", at_least=0, rules_out=(_T,)),
            Level("week", "a week", (-2, 1, 1, -2, 1), "the weekly refresh keeps it", at_least=2),
            Level("quarter", "some weeks", (-1, 0, 0, -1, 0), "a retrain a quarter is late", at_least=8),
            Level("longer", "a quarter or longer", (0, 0, 0, 0, 0), "a retrain a quarter keeps up", at_least=92),
        ),
    ),
)

DATA = (
    Criterion(
        "documents",
        "Documents",
        "which data are there",
        "data",
        2,
        "Retrieval needs something to read; what fits into one prompt needs no search.",
        "How many documents are there?",
        (
            Level(
                "none", "no document", (1, -2, -2, 0, -2), "there is nothing to retrieve", at_least=0, rules_out=_READS
            ),
            Level("few", "fewer than 20", (1, 0, 0, 0, 0), "they may fit into the prompt as they are", at_least=1),
            Level("many", "20 or more", (0, 1, 1, 0, 1), "they are there to be found", at_least=20),
        ),
    ),
    Criterion(
        "labels",
        "Reviewed examples",
        "which data are there",
        "data",
        2,
        "A condition, no reason: many examples do not make training useful. The example gate takes no fewer than "
        f"{MIN_EXAMPLES}; a voice takes a few hundred, and 1,000 careful ones were enough for a large model (Zhou et "
        "al., LIMA, 2023).",
        "How many questions with a reviewed answer are there to learn from?",
        (
            Level(
                "none",
                f"fewer than {MIN_EXAMPLES}",
                (0, 0, 0, -2, -2),
                "too few to train",
                at_least=0,
                rules_out=(_T, _B),
            ),
            Level(
                "few",
                f"{MIN_EXAMPLES} to 199",
                (0, 0, 0, -1, -1),
                "enough to try, rarely to show a gain",
                at_least=MIN_EXAMPLES,
            ),
            Level("some", "200 to 999", (0, 0, 0, 0, 0), "enough for form", at_least=200),
            Level("many", "1,000 or more", (0, 0, 0, 0, 0), "enough to train and to judge", at_least=1000),
        ),
        ready_at="some",
    ),
)

QUALITY = (
    Criterion(
        "traceability",
        "Answers that cite their source",
        "quality and traceability",
        "traceability",
        3,
        "A citation needs a passage; weights name no source.",
        "Must every answer cite where it comes from?",
        (
            Level("none", "no source is needed", (0, 0, 0, 0, 0)),
            Level("useful", "a source is useful", (-1, 1, 1, -1, 1), "passages are cited as they are used"),
            Level(
                "required", "a source is required", (-2, 2, 2, -2, 2), "only passages can be cited", rules_out=(_N, _T)
            ),
        ),
    ),
    Criterion(
        "retrieval_gain",
        "Passages against closed-book, measured",
        "quality and traceability",
        "quality",
        2,
        "Measured on your own held-out questions; it counts beside what you said of them.",
        "",
        (
            Level("worse", "worse with passages", (1, -2, -2, 1, -2), "search does not find what answers"),
            Level("not shown", "no difference is shown", (0, 0, 0, 0, 0), "the intervals hold zero"),
            Level("better", "better with passages", (-2, 1, 2, -2, 2), "the interval holds no zero"),
        ),
    ),
    Criterion(
        "writing_gain",
        "A model that writes against the best passages alone, measured",
        "quality and traceability",
        "quality",
        2,
        "Measured with the model at hand: a stronger one may differ.",
        "",
        (
            Level(
                "worse", "worse where the model writes", (0, 2, -1, 0, -1), "the passages alone serve readers better"
            ),
            Level("not shown", "no difference is shown", (0, 1, 0, 0, 0), "then the simpler one"),
            Level("better", "better where the model writes", (0, -1, 1, 0, 1), "the interval holds no zero"),
        ),
    ),
    Criterion(
        "tuning_gain",
        "Fine-tuned against base, both with passages, measured",
        "quality and traceability",
        "quality",
        2,
        "Measured on facts and citations; it says nothing of a voice, which has its own line.",
        "",
        (
            Level("worse", "worse when fine-tuned", (0, 0, 0, -1, -2), "the training costs more than it brings"),
            Level("not shown", "no gain is shown", (0, 0, 0, 0, -1), "then the simpler one"),
            Level("better", "better when fine-tuned", (0, 0, 0, 0, 2), "the interval holds no zero"),
        ),
        ready_at="better",
    ),
    Criterion(
        "form_share",
        "Answers rated down for their form",
        "quality and traceability",
        "quality",
        2,
        "What people reject tells what is missing: a source, or a way to say it. Counted from 10 answers on.",
        "",
        (
            Level(
                "missing",
                "mostly missing information",
                (0, 1, 1, -2, -1),
                "add sources: training would teach to guess",
                at_least=0,
            ),
            Level("mixed", "missing information and form alike", (0, 0, 0, 0, 0), "both are at work", at_least=0.3),
            Level(
                "form",
                "mostly form",
                (0, -1, -1, 1, 2),
                "the passages held it and the answer did not please",
                at_least=0.7,
            ),
        ),
    ),
)

RUNNING = (
    Criterion(
        "latency_seconds",
        "Seconds until the answer",
        "latency and throughput",
        "latency",
        2,
        "A search takes a tenth of a second, a model seconds; a small tuned one writes fewer words than a large one.",
        "Within how many seconds must an answer be there?",
        (
            Level(
                "at once",
                "less than half a second",
                (-1, 2, -2, -1, -1),
                "no model writes so fast on a CPU",
                at_least=0,
            ),
            Level("soon", "up to three seconds", (0, 1, -1, 0, 0), "a short answer by a small model", at_least=0.5),
            Level("relaxed", "more than three seconds", (0, 0, 0, 0, 0), at_least=3),
        ),
    ),
    Criterion(
        "questions_per_month",
        "Questions a month",
        "latency and throughput",
        "cost",
        1,
        "Training is shared by the month's questions; the break-evens of `almanac compare` say it exactly.",
        "How many questions come in a month?",
        (
            Level("few", "fewer than 10,000", (0, 0, 0, -1, -1), "few questions share the training", at_least=0),
            Level("many", "10,000 to a million", (0, 0, 0, 0, 0), at_least=10_000),
            Level(
                "very many",
                "a million or more",
                (0, 0, -1, 1, 1),
                "a short prompt to a small model repays training",
                at_least=1_000_000,
            ),
        ),
    ),
    Criterion(
        "team",
        "Who looks after it",
        "team and timeline",
        "team",
        2,
        "Somebody must judge a retrained model each time; documents must be looked after in any case.",
        "What can the team do: none (run a service), evaluates (judge an evaluation), trains (train models)?",
        (
            Level("none", "can run a service", (0, 0, 0, -2, -2), "nobody can judge a retrained model"),
            Level("evaluates", "can judge an evaluation", (0, 0, 0, 0, 0)),
            Level("trains", "can train models", (0, 0, 0, 0, 0)),
        ),
        ready_at="evaluates",
    ),
    Criterion(
        "weeks",
        "Weeks until it must serve",
        "team and timeline",
        "team",
        1,
        "Documents are indexed in a day; examples, their review and an evaluation take weeks.",
        "In how many weeks must it serve?",
        (
            Level("now", "fewer than four", (0, 1, 1, -2, -2), "examples would not be ready", at_least=0),
            Level("time", "four or more", (0, 0, 0, 0, 0), at_least=4),
        ),
        ready_at="time",
    ),
    Criterion(
        "restricted",
        "Documents that not everyone may read",
        "security and offline",
        "compliance",
        3,
        "Search filters by asker; weights cannot, so such documents never enter them.",
        "May some documents be read by some people only?",
        (
            Level("no", "everyone may read all", (0, 0, 0, 0, 0)),
            Level(
                "yes", "some are for some people only", (0, 1, 1, -2, 1), "only search knows who asks", rules_out=(_T,)
            ),
        ),
    ),
    Criterion(
        "erasure",
        "Documents that must be forgotten on demand",
        "security and offline",
        "compliance",
        2,
        "A document leaves the index at once; what weights learnt of it goes with the next retrain.",
        "Must documents be forgotten on demand (personal data, contracts that end)?",
        (
            Level("no", "nothing needs to be forgotten", (0, 0, 0, 0, 0)),
            Level(
                "yes", "documents must be forgotten on demand", (0, 1, 1, -2, -1), "weights forget with a retrain only"
            ),
        ),
    ),
    Criterion(
        "offline",
        "Nothing leaves the house",
        "security and offline",
        "compliance",
        1,
        "It decides which model writes, not which strategy: all five run offline here.",
        "Must it all run without a service outside?",
        (
            Level("no", "an outside service is allowed", (0, 0, 0, 0, 0)),
            Level(
                "yes",
                "no outside service is allowed",
                (0, 0, 0, 0, 0),
                "a model in process or a server of your own writes",
            ),
        ),
    ),
)

CRITERIA: tuple[Criterion, ...] = (*GOAL, *KNOWLEDGE, *DATA, *QUALITY, *RUNNING)
BY_NAME = {criterion.name: criterion for criterion in CRITERIA}
