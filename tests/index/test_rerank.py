"""The second stage: scores of candidates, and how they are mixed with the first."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tasks.errors import ConfigurationError, DependencyError
from tasks.index.search.rerank import EndpointReranker, LateInteraction, build_reranker, mixed
from tasks.params import SearchParams
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS

AXES = {"ledger": 0, "closes": 1, "noon": 2, "walk": 3}


class WordVectors:
    """An axis for each word, so that a cosine is 1 for an equal word and 0 for another."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        self.embedded += texts
        return [np.eye(4, dtype=np.float16)[[AXES[word] for word in text.split()]] for text in texts]


def search(**changes: Any) -> SearchParams:
    return SearchParams.model_validate(BASE_PARAMS["search"] | changes)


def test_late_interaction_is_the_share_of_the_question_that_a_text_matches() -> None:
    reranker = LateInteraction(WordVectors())  # type: ignore[arg-type]
    scores = reranker.scores("ledger closes", ["a", "b", "c"], ["walk", "noon ledger", "closes ledger noon"])
    assert scores.tolist() == [0.0, 0.5, 1.0]


def test_token_vectors_of_a_chunk_are_made_once() -> None:
    vectors = WordVectors()
    reranker = LateInteraction(vectors)  # type: ignore[arg-type]
    for _ in range(2):
        reranker.scores("ledger", ["a", "b"], ["walk", "noon"])
    assert sorted(vectors.embedded) == ["ledger", "ledger", "noon", "walk"]


def test_mixture_scales_both_stages() -> None:
    assert mixed([1.0, 0.5], np.array([2.0, 8.0], np.float32), 0.5) == [0.5, 0.5]
    assert mixed([1.0, 0.5], np.array([2.0, 8.0], np.float32), 0.9)[1] == pytest.approx(0.9)
    assert mixed([0.3], np.array([2.0], np.float32), 0.5) == [1.0]
    assert mixed([], np.empty(0, np.float32), 0.5) == []


@pytest.fixture(params=["cohere", "bare"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A `/rerank` that scores by length, in each of the two forms, and leaves the first text out."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = [{"index": place, "relevance_score": len(text)} for place, text in enumerate(body["documents"])][1:]
            bare = [{"index": entry["index"], "score": entry["relevance_score"]} for entry in found]
            answer = json.dumps({"results": found} if request.param == "cohere" else bare).encode()
            self.send_response(200 if self.path == "/v1/rerank" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_endpoint_scores_by_index_and_a_text_left_out_ranks_last(server: str, tmp_path: Path) -> None:
    reranker = EndpointReranker(f"{server}/v1", "any", Settings(home=tmp_path))
    assert reranker.scores("q", ["a", "b", "c"], ["left out", "bb", "cccc"]).tolist() == [2.0, 2.0, 4.0]


def test_endpoint_that_does_not_answer_so_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="rerank_endpoint must answer"):
        EndpointReranker(f"{server}/other", None, Settings(home=tmp_path)).scores("q", ["a"], ["b"])


@pytest.mark.parametrize(("rerank", "missing"), [("cross_encoder", "rerank_model"), ("endpoint", "rerank_endpoint")])
def test_reranker_without_what_it_needs_is_refused(rerank: str, missing: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"search.{missing} must be set"):
        build_reranker(search(rerank=rerank), WordVectors(), Settings(home=tmp_path))  # type: ignore[arg-type]


def test_no_reranker_is_the_default(tmp_path: Path) -> None:
    assert build_reranker(search(rerank="none"), WordVectors(), Settings(home=tmp_path)) is None  # type: ignore[arg-type]
