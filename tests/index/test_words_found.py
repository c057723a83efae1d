"""Words of fourteen languages, signs, identifiers and misspelt names are found in one index, full text and hybrid."""

# ruff: noqa: RUF001 - letters of other scripts look like Latin ones

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus.document import EVERYONE, Document, Item, make_document
from tasks.index.access import AccessMap
from tasks.index.access_tables import ensure_tables, intern, load_access
from tasks.index.chunking.chunk import CHUNK_SCHEMA, chunk_rows
from tasks.index.embedding.cache import EmbeddingCache
from tasks.index.embedding.embedder import load_embedder
from tasks.index.search import Index, Mode, Request
from tasks.index.table import build_indexes, connect, open_latest, rewrite, row_batches_of
from tasks.params import ChunkingParams, EmbeddingParams, IndexParams, SearchParams
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS

pytestmark = pytest.mark.slow

PAGES = {
    "zh": "# 差旅费用\n\n出差人员须在返回后十天内填写差旅报告并附上全部票据。",
    "zh2": "# 会议室\n\n会议室需要提前两天在前台登记,临时取消请通知管理员。",
    "ja": "# 有給休暇\n\n有給休暇の申請は二週間前までに上司へ提出してください。",
    "ko": "# 주차 안내\n\n방문객 차량은 지하 이층 주차장에 등록한 뒤 이용할 수 있습니다.",
    "th": "# ที่จอดรถ\n\nพนักงานต้องลงทะเบียนทะเบียนรถก่อนใช้ที่จอดรถของสำนักงาน",
    "hi": "# अवकाश\n\nकर्मचारी को अवकाश के लिए एक सप्ताह पहले आवेदन देना होगा।",
    "ru": "# Отпуск\n\nЗаявление на отпуск подаётся начальнику отдела за две недели.",
    "el": "# Άδειες\n\nΗ αίτηση άδειας υποβάλλεται στον προϊστάμενο δύο εβδομάδες νωρίτερα.",
    "ar": "# الإجازات\n\nيقدم الموظف طلب الإجازة إلى المدير قبل أسبوعين.",
    "de": "# Dienstreise\n\nDie Erstattung der Übernachtung in Zürich beantragt man mit dem Formular.",
    "fr": "# Congés\n\nL'employé dépose sa demande de congés payés auprès de l'entrepôt deux semaines avant.",
    "tr": "# İzin\n\nÇalışan, izin başvurusunu iki hafta önce müdüre iletir. Iğdır şubesi kapalıdır.",
    "vi": "# Nghỉ phép\n\nNhân viên nộp đơn xin nghỉ phép trước hai tuần.",
    "he": "# חופשה\n\nהעובד מגיש בקשת חופשה למנהל שבועיים מראש.",
    "flag": "# Moving data\n\nWith `--keep-going` the mover skips a file that it cannot read and goes on.",
    "flag2": "# Long walks\n\nKeep going even when it rains: going on is what the walkers of the club do, keep it up.",
    "dry": "# Running dry\n\nIf the well runs dry, stop the motor by hand and ring the caretaker.",
    "flag3": "# Command line\n\nPass `--dry-run` to see what would be done. Pass `--with-lease` to write safely. "
    "`-v` tells more.\n\n`max_clients` limits the clients.",
    "cpp": "# Native code\n\nThe parser of the engine is written in C++ and built by the release job.",
    "csharp": "# Desktop client\n\nThe desktop client is written in C# and is signed before it is shipped.",
    "c": "# Drivers\n\nThe drivers are written in C, and C alone: nothing else is linked into them.",
    "sum": "# Checks\n\nThe sum is 3b1f0c9d77e2aa5564bd0f1e8c6a9d72413b5f60e1c2d3a4958677a0b1c2d3e4 as of May.",
    "class": "# Wiring\n\nIt extends TransactionalEventPublishingRepositoryDecoratorFactoryBean of the shared module.",
    "desk": "# Desk\n\nCall IT when a laptop is lost. IT locks it from afar.",
    "tool": "# Scheduler\n\nquartzolator starts the nightly jobs of the warehouse.",
    "long": "# Anemometer\n\nMeasures how fast the air moves past the mast and writes it to the journal. "
    + "The cups turn, the counter counts, and the sum of an hour is kept. " * 25
    + "\n\n## Anemometer people\n\nAnemometer was made by the Anemometer group; ask the group of Anemometer.",
    "noise": "# It\n\nIt is what it is. When it rains it pours, and it is wet when it does.",
}
QUESTIONS = [
    ("差旅报告", "zh"),
    ("会议室怎么登记", "zh2"),
    ("有給休暇の申請", "ja"),
    ("주차장 등록", "ko"),
    ("ที่จอดรถ", "th"),
    ("अवकाश आवेदन", "hi"),
    ("заявления на отпуск", "ru"),
    ("αίτηση άδειας", "el"),
    ("طلب الإجازة", "ar"),
    ("Ubernachtung Zurich", "de"),
    ("demande de conges", "fr"),
    ("Igdir", "tr"),
    ("nghi phep", "vi"),
    ("בקשת חופשה", "he"),
    ("--keep-going", "flag"),
    ("what does --keep-going do", "flag"),
    ("--dry-run", "flag3"),
    ("what does --dry-run do", "flag3"),
    ("C++", "cpp"),
    ("C#", "csharp"),
    ("C", "c"),
    ("3b1f0c9d77e2aa5564bd0f1e8c6a9d72413b5f60e1c2d3a4958677a0b1c2d3e4", "sum"),
    ("TransactionalEventPublishingRepositoryDecoratorFactoryBean", "class"),
    ("IT", "desk"),
    ("quarzolator", "tool"),
    ("qaurtzolator", "tool"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, AccessMap]:
    """One table of all pages, written as a refresh writes it."""
    settings = Settings(home=tmp_path_factory.mktemp("words"), device="cpu")
    embedder = load_embedder(EmbeddingParams.model_validate(BASE_PARAMS["embedding"]), settings)
    chunks = settings.home / "chunks.parquet"
    chunking = ChunkingParams.model_validate(BASE_PARAMS["chunking"])
    rows = list(chunk_rows([document(name, text) for name, text in PAGES.items()], embedder.tokenizer, chunking))
    pq.write_table(pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA), chunks)
    cache = EmbeddingCache(settings.home, embedder.identity, embedder.dim)
    cache.put([str(row["text_key"]) for row in rows], embedder.embed([str(row["search_text"]) for row in rows]))
    db = connect(settings)
    ensure_tables(db)
    rewrite(db, row_batches_of([chunks], cache, embedder.identity, language="English"), embedder.dim)
    intern(db, {frozenset({EVERYONE})})
    params = IndexParams.model_validate(BASE_PARAMS["index"])
    build_indexes(db, params)
    search = SearchParams.model_validate(BASE_PARAMS["search"] | {"fusion": "score", "vector_weight": 0.6})
    return Index(open_latest(db), embedder, search, params, release="1"), load_access(db)


def document(name: str, text: str) -> Document:
    item = Item("notes", name, "1", len(text), name)
    title = text.splitlines()[0].removeprefix("# ")
    return make_document(item, title=title, text=text, knowledge_base="kb", access=[EVERYONE], raw_hash=name)


@pytest.mark.parametrize("mode", ["full_text", "hybrid"])
@pytest.mark.parametrize(("question", "page"), QUESTIONS)
def test_page_that_holds_the_words_is_first(
    index: tuple[Index, AccessMap], question: str, page: str, mode: Mode
) -> None:
    searched, access = index
    found = [passage.document_id for passage in searched.search(Request(question, mode=mode), access)]
    assert found[:1] == [f"notes:{page}"]


def test_document_that_the_question_names_is_among_the_hits(index: tuple[Index, AccessMap]) -> None:
    searched, access = index
    question = "Do walkers keep going when it rains?"
    unnamed, named = (
        [passage.title for passage in searched.search(Request(asked, top_k=3), access)]
        for asked in (question, question.replace("?", ", in Drivers?"))
    )
    assert "Drivers" not in unnamed
    assert named == ["Long walks", "It", "Drivers"]


def test_document_that_the_question_names_takes_not_the_only_place(index: tuple[Index, AccessMap]) -> None:
    searched, access = index
    question = "Do walkers keep going when it rains, in Drivers?"
    (passage,) = searched.search(Request(question, top_k=1), access)
    assert passage.title == "Long walks"


def test_question_that_asks_about_a_document_alone_gets_its_beginning_first(index: tuple[Index, AccessMap]) -> None:
    searched, access = index
    first = searched.search(Request("What is the Anemometer for?"), access)[0]
    assert first.text.startswith("# Anemometer")
    people = searched.search(Request("Who are the people behind the Anemometer?"), access)[0]
    assert "## Anemometer people" in people.text
