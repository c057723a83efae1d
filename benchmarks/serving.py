"""What the server costs: search and answers through HTTP beside the same work without it, in one run.

`python -m benchmarks.serving` asks the release in `ALMANAC_HOME` (`almanac refresh` makes one) through a real uvicorn
on this machine; client and server share its cores. Prints one JSON object.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tasks.params import Params, load_params
from tasks.settings import Settings, quiet_environment

KEY_NAME = "benchmark"
NUM_CLIENTS = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--answers", type=int, default=24)
    arguments = parser.parse_args()
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    questions = golden_questions(params)
    result = {"search": searches(params, settings, cycled(questions, arguments.searches))}
    result["answers"] = answers(params, settings, cycled(questions, arguments.answers))
    result["milliseconds"] = overheads(settings, cycled(questions, arguments.searches))
    print(json.dumps(result, indent=2))


def golden_questions(params: Params) -> list[str]:
    path = Path(params.evaluation.golden)
    return [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines()]


def cycled(questions: Sequence[str], count: int) -> list[str]:
    return [questions[place % len(questions)] for place in range(count)]


@contextmanager
def client(params: Params, settings: Settings) -> Iterator[Any]:
    """An HTTP client of a server in this process, with a key of its own."""
    import httpx
    import uvicorn

    from serving.api.app import create_app
    from serving.api.people.keys import KeyFile

    keys = KeyFile(settings.api_keys)
    if any(key.name == KEY_NAME for key in keys.entries()):
        keys.remove(KEY_NAME)
    credential = keys.add(KEY_NAME, ())
    app = create_app(params, settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    limits = httpx.Limits(max_connections=NUM_CLIENTS, max_keepalive_connections=NUM_CLIENTS)
    headers = {"Authorization": f"Bearer {credential}"}
    try:
        with httpx.Client(base_url=address, headers=headers, timeout=600, limits=limits) as http:
            while http.get("/readyz").status_code == 503:
                time.sleep(0.2)
            yield http
    finally:
        server.should_exit = True
        thread.join()
        keys.remove(KEY_NAME)


def searches(params: Params, settings: Settings, questions: Sequence[str]) -> dict[str, Any]:
    from tasks.index.access_tables import load_access
    from tasks.index.live import open_index, serving
    from tasks.index.search import Request
    from tasks.index.table import connect

    db = connect(settings)
    index, access = open_index(db, serving(settings).release, params, settings), load_access(db)

    def plain(question: str) -> None:
        vector = index.embedder.embed_questions([question])[0]
        index.table.search(vector, vector_column_name="vector").limit(params.search.top_k).to_arrow()

    def in_process(question: str) -> None:
        index.search(Request(question), access)

    with client(params, settings) as http:

        def through_http(question: str) -> None:
            http.get("/v1/search", params={"query": question}).raise_for_status()

        ways: dict[str, Callable[[str], None]] = {
            "lancedb_vector_search": plain,
            "index_search": in_process,
            "http": through_http,
        }
        found: dict[str, Any] = {name: timed(way, questions, 1) for name, way in ways.items()}
        found |= {f"{name}_{NUM_CLIENTS}_clients": timed(ways[name], questions, NUM_CLIENTS) for name in ways}
    return found


def answers(params: Params, settings: Settings, questions: Sequence[str]) -> dict[str, Any]:
    """One client that waits for each answer, and eight, whose drafts go in batches."""
    with client(params, settings) as http:

        def ask(question: str) -> None:
            body = {"messages": [{"role": "user", "content": question}]}
            http.post("/v1/chat/completions", json=body).raise_for_status()

        ask(questions[0])
        return {f"{count}_clients": timed(ask, questions, count) for count in (1, NUM_CLIENTS)}


def overheads(settings: Settings, questions: Sequence[str]) -> dict[str, float]:
    """Medians of the access check (both tables read, ids computed) and of an empty trace."""
    from tasks.answer.answer import Answer
    from tasks.answer.trace import TraceContext, flush_traces, traced
    from tasks.index.access_tables import load_access
    from tasks.index.table import connect

    db = connect(settings)
    nothing = Answer("", "nothing_found", "none", (), (), (), "", 0, 0)
    context = TraceContext("0", "base", ())
    trace = partial(traced, retrieve=tuple, answer=lambda _: nothing, context=context, settings=settings)
    trace(questions[0])
    found = {
        "access_check": timed(lambda _: load_access(db).readable_ids(("finance",)), questions, 1)["p50_ms"],
        "trace": timed(trace, questions, 1)["p50_ms"],
    }
    flush_traces()
    return found


def timed(call: Callable[[str], Any], questions: Sequence[str], num_clients: int) -> dict[str, float]:
    """Requests a second and percentiles in milliseconds."""

    def one(question: str) -> float:
        started = time.perf_counter()
        call(question)
        return 1000 * (time.perf_counter() - started)

    one(questions[0])
    started = time.perf_counter()
    with ThreadPoolExecutor(num_clients) as threads:
        seconds = list(threads.map(one, questions))
    per_second = len(questions) / (time.perf_counter() - started)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    rounded = {f"p{place}_ms": round(cuts[place - 1], 2) for place in (50, 95, 99)}
    return {"per_second": round(per_second, 2)} | rounded


if __name__ == "__main__":
    main()
