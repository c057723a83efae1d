"""Tokens a second of the engines that write answers in this process: transformers and llama.cpp, on the same file.

Each engine runs in a process of its own, over the same chat: a long prompt that is read once, and `--new-tokens` that
are written. Tokens a CPU second tell the engines apart on a machine that does other work too; tokens a second are what
a user waits for on a quiet one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.params import GenerationParams, load_params
from tasks.settings import Settings, quiet_environment

SENTENCE = "A queue holds tasks in the order in which they came until a worker takes one of them and runs it. "


@dataclass(frozen=True, slots=True)
class Speed:
    """What one engine took for one chat, without loading."""

    engine: str
    num_prompt_tokens: int
    num_new_tokens: int
    prompt_seconds: float
    prompt_cpu_seconds: float
    new_seconds: float
    new_cpu_seconds: float
    load: float

    def row(self) -> str:
        """Return a row of the table: tokens a second, and a CPU second."""
        prompt, new = self.num_prompt_tokens, self.num_new_tokens - 1
        figures = (
            prompt / self.prompt_seconds,
            prompt / self.prompt_cpu_seconds,
            new / self.new_seconds,
            new / self.new_cpu_seconds,
        )
        cells = " | ".join(f"{figure:.1f}" for figure in figures)
        return f"| {self.engine} | {prompt} | {self.num_new_tokens} | {cells} | {self.load:.0f} |"


def measure(params: GenerationParams, num_sentences: int, num_new_tokens: int) -> Speed:
    """Time the first token, which ends the reading, and the others."""
    from tasks.answer.generators import engine_of, load_generator

    settings = Settings()
    generator = load_generator(params, settings)
    generator.generate([{"role": "user", "content": "Hello"}], max_new_tokens=2)
    text = SENTENCE * num_sentences + "Write a long story about this queue."
    clock, cpu = time.perf_counter(), time.process_time()
    stream = generator.stream([{"role": "user", "content": text}], max_new_tokens=num_new_tokens)
    next(stream)
    first_clock, first_cpu = time.perf_counter(), time.process_time()
    while True:
        try:
            next(stream)
        except StopIteration as end:
            generation = end.value
            break
    return Speed(
        engine_of(params, settings),
        generation.num_prompt_tokens,
        generation.num_completion_tokens,
        first_clock - clock,
        first_cpu - cpu,
        time.perf_counter() - first_clock,
        time.process_time() - first_cpu,
        os.getloadavg()[0],
    )


def main() -> None:
    """Print a table of the engines; with `--engine`, the figures of that one as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="generation.model; default: that of params.yaml")
    parser.add_argument("--gguf-file")
    parser.add_argument("--engines", default="transformers,llama.cpp")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=32)
    arguments = parser.parse_args()
    quiet_environment()
    if arguments.engine is None:
        print("| engine | prompt | new | prompt tokens/s | a CPU s | new tokens/s | a CPU s | load |\n|" + "---|" * 8)
        for engine in arguments.engines.split(","):
            command = [sys.executable, "-m", "benchmarks.engines", *sys.argv[1:], "--engine", engine]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            print(Speed(**json.loads(result.stdout.splitlines()[-1])).row(), flush=True)
        return
    params = load_params(Path("params.yaml")).generation
    named = {"model": arguments.model, "gguf_file": arguments.gguf_file, "engine": arguments.engine}
    changed = params.model_copy(update={name: value for name, value in named.items() if value is not None})
    print(json.dumps(asdict(measure(changed, arguments.sentences, arguments.new_tokens))))


if __name__ == "__main__":
    main()
