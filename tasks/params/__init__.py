"""What changes a result: `params.yaml`, typed once, frozen, with no second default in code.

Addresses, secrets and devices are not here: see `tasks.settings`.
"""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from tasks.errors import ConfigurationError
from tasks.params.checks import GateRule, Prompt, UniqueKeyLoader, check_cron, check_endpoint, check_timezone
from tasks.params.embedding import EmbedderTuningParams, EmbeddingNeeds
from tasks.params.examples import ExampleGateParams, ExamplesParams
from tasks.params.fine_tuning import FineTuningParams
from tasks.params.knowledge_bases import KnowledgeBasesParams
from tasks.params.missing import lines_to_paste
from tasks.params.needs import NeedsParams
from tasks.params.prices import PricesParams
from tasks.params.sources import Block, Name, Share, Source
from tasks.params.style import StyleParams

Cron = Annotated[str, AfterValidator(check_cron)]

ENDPOINT_PROFILE = "endpoint"


class ParsingParams(Block):
    """Limits within which one item is parsed; `ocr`: Tesseract's languages for scanned pages, as `eng+deu`."""

    timeout_seconds: Annotated[float, Field(gt=0)]
    max_memory_mb: Annotated[int, Field(ge=256)]
    max_item_mb: Annotated[float, Field(gt=0)]
    max_characters: Annotated[int, Field(gt=0)]
    ocr: Annotated[str, Field(pattern=r"^[A-Za-z_]+(\+[A-Za-z_]+)*$")] | None = None


class DocumentGateParams(Block):
    """The document gate: a stop above a share of quarantined items, and the rules."""

    max_quarantined_fraction: Share
    min_documents: Annotated[int, Field(ge=0)]
    rules: tuple[GateRule, ...]


class ChunkingParams(Block):
    """Token budgets, in tokens of the embedding model's own tokenizer, its special tokens included."""

    max_tokens: Annotated[int, Field(ge=16)]
    min_tokens: Annotated[int, Field(ge=0)]
    overlap_tokens: Annotated[int, Field(ge=0)]
    max_context_tokens: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _budget_leaves_room(self) -> "ChunkingParams":
        if self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens must not be above max_tokens")
        if self.overlap_tokens + self.max_context_tokens >= self.max_tokens:
            raise ValueError("overlap_tokens + max_context_tokens must be below max_tokens")
        return self


class EmbeddingParams(EmbeddingNeeds):
    """The embedding model: `package:<distribution module>`, a local folder, a Hugging Face id, or a tuned one.

    A tuned one is `mlflow:almanac-embedder@<alias>` or `mlflow:almanac-embedder/<version>`; and one that was tuned from
    what is named takes its place while it has the alias `champion`.

    `precision: auto` multiplies in bfloat16 (or float16) where the hardware does so faster, else in float32.
    """

    model: str
    precision: Literal["auto", "float32", "bfloat16"]
    tokens_per_batch: Annotated[int, Field(ge=1)]


class SearchParams(Block):
    """Hybrid search: each leg fetches `candidates`, fused, reranked, and cut to `top_k`.

    `rerank` scores the best `rerank_candidates` again; `rerank_weight` is the share of the second score.
    `cross_encoder` reads `rerank_model`, `endpoint` asks `rerank_endpoint` at `/rerank`. `join_neighbours` joins hits
    that stand beside each other, and a hit inside code with the rest of the code.
    `empty_chunk_weight`: the score of a chunk that says nothing (a heading, badges, links alone) counts so much.
    """

    mode: Literal["hybrid", "vector", "full_text"]
    top_k: Annotated[int, Field(ge=1, le=100)]
    candidates: Annotated[int, Field(ge=1, le=1000)]
    fusion: Literal["rrf", "score"]
    rrf_k: Annotated[int, Field(ge=1)]
    vector_weight: Share
    empty_chunk_weight: Share
    rerank: Literal["none", "late_interaction", "cross_encoder", "endpoint"]
    rerank_candidates: Annotated[int, Field(ge=1, le=200)]
    rerank_weight: Share
    rerank_model: str | None
    rerank_endpoint: str | None
    join_neighbours: bool
    max_chunks_per_document: Annotated[int, Field(ge=1)]
    max_question_characters: Annotated[int, Field(ge=1)]


class IndexParams(Block):
    """The indexes of the LanceDB table."""

    language: str
    vector_index_min_rows: Annotated[int, Field(ge=256)]
    exact_below_rows: Annotated[int, Field(ge=0)]
    num_probes: Annotated[int, Field(ge=1)]
    refine_factor: Annotated[int, Field(ge=1)]
    max_delta_indexes: Annotated[int, Field(ge=1)]


class IndexGateParams(Block):
    """Golden questions on the candidate and on the live release, with a paired bootstrap."""

    golden: str | None
    split: Literal["train", "validation", "test", "all"]
    k: Annotated[int, Field(ge=1)]
    tolerance: Share
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    num_resamples: Annotated[int, Field(ge=100)]
    min_recall_at_k: Share


class ReleaseParams(Block):
    """Whether a candidate that passed serves at once, and how many releases can be rolled back to."""

    policy: Literal["auto", "manual"]
    keep: Annotated[int, Field(ge=2)]


class ExecutionParams(Block):
    """How parsing and embedding are spread."""

    runner: Literal["threads", "dask", "ray"]
    num_workers: Annotated[int, Field(ge=1)]
    items_per_shard: Annotated[int, Field(ge=1)]
    chunks_per_shard: Annotated[int, Field(ge=1)]


class GenerationParams(Block):
    """What writes answers where no version is promoted: a model, its engine or endpoint, and what it is asked.

    `answerer`: `excerpt`: the best excerpt, no generation; `model`: `model` writes. A promoted version always writes.
    `model`: `package:<module>`, `home:<folder>` in ALMANAC_HOME, a local folder or a Hugging Face id.
    `endpoint`: the base URL of an OpenAI-compatible server that runs `model`; null: in this process, by `engine`.
    `prompts`: the prompt of a knowledge base, in place of `prompt` where a request is limited to that one alone.
    `verify`: the model judges its claims in a second call; what the passages contradict is taken out.
    """

    answerer: Literal["excerpt", "model"]
    model: str
    gguf_file: str | None
    engine: Literal["auto", "transformers", "llama.cpp"]
    endpoint: Annotated[str | None, AfterValidator(check_endpoint)]
    prompt: Prompt
    prompts: dict[Name, Prompt]
    verify: bool
    max_new_tokens: Annotated[int, Field(ge=1)]
    num_passages: Annotated[int, Field(ge=1, le=20)]
    max_passage_tokens: Annotated[int, Field(ge=16)]

    def limited_to(self, knowledge_bases: Collection[str]) -> "GenerationParams":
        """Return the parameters of a request limited to these knowledge bases: with the prompt of a single one."""
        own = [self.prompts.get(name, self.prompt) for name in knowledge_bases]
        return self.model_copy(update={"prompt": own[0]}) if len(own) == 1 else self

    @property
    def is_excerpt(self) -> bool:
        """Whether the best excerpt answers and no model writes: an endpoint is there to write."""
        return self.answerer == "excerpt" and self.endpoint is None


class JudgeParams(Block):
    """A model behind an OpenAI-compatible endpoint that says whether an answer agrees with the golden answer."""

    endpoint: str
    model: str


class EvaluationParams(Block):
    """The held-out questions on which answerers are compared; `max_questions` null: all of the split.

    `reviewed_golden`: a file of more, which the review queue writes; it may be absent.
    """

    golden: str
    reviewed_golden: str | None = None
    split: Literal["validation", "test", "all"]
    max_questions: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=1)]
    max_new_tokens_closed_book: Annotated[int, Field(ge=1)]
    judge: JudgeParams | None = None


class ModelGateParams(Block):
    """Better than base and champion on `headline` with confidence; no guarded metric worse than its tolerance.

    `guarded` maps a metric to the largest loss that is allowed; for `perplexity_*` it is a relative growth. With
    `stop_early` nothing more is asked of a candidate whose headline is worse than that of what serves, with confidence.
    """

    headline: str
    stop_early: bool = True
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    num_resamples: Annotated[int, Field(ge=100)]
    guarded: dict[str, Annotated[float, Field(ge=0)]]


class CompareParams(Block):
    """What the comparison needs of the user: how much is asked, and what an hour of the machine costs."""

    questions_per_month: Annotated[int, Field(ge=1)]
    machine_cost_per_hour: Annotated[float, Field(ge=0)]
    currency: str
    retrains_per_year: Annotated[float, Field(gt=0)]
    refreshes_per_year: Annotated[float, Field(gt=0)]
    prices: PricesParams = PricesParams()


class ServingParams(Block):
    """The HTTP server: who may ask without a key, how much waits, and how aliases are followed."""

    anonymous_groups: tuple[Name, ...]
    max_queue: Annotated[int, Field(ge=1)]
    max_batch: Annotated[int, Field(ge=1)]
    poll_seconds: Annotated[float, Field(gt=0)]
    smoke_questions: tuple[Annotated[str, Field(pattern=r"\S")], ...]
    challenger_share: Share
    max_history_messages: Annotated[int, Field(ge=0)]
    cache_entries: Annotated[int, Field(ge=0)]
    cache_mb: Annotated[int, Field(ge=1)]


class ScheduleParams(Block):
    """When the cadences run."""

    refresh_cron: Cron
    retrain_cron: Cron
    # A params.yaml of an earlier version lacks it.
    monitor_cron: Cron = "0 6 * * *"
    timezone: Annotated[str, AfterValidator(check_timezone)]


class ExperimentParams(Block):
    """What `dvc repro` works on: the tag of a snapshot in the data registry, or `newest`."""

    snapshot: str = "newest"


class Params(Block):
    """All of `params.yaml`; `embedder_tuning` null: the embedder is tuned by `fine_tuning` as it stands, and alone."""

    sources: tuple[Source, ...]
    parsing: ParsingParams
    document_gate: DocumentGateParams
    chunking: ChunkingParams
    embedding: EmbeddingParams
    index: IndexParams
    search: SearchParams
    index_gate: IndexGateParams
    release: ReleaseParams
    execution: ExecutionParams
    generation: GenerationParams
    examples: ExamplesParams
    example_gate: ExampleGateParams
    fine_tuning: FineTuningParams
    embedder_tuning: EmbedderTuningParams | None = None
    evaluation: EvaluationParams
    knowledge_bases: KnowledgeBasesParams = KnowledgeBasesParams()
    style: StyleParams = StyleParams()
    model_gate: ModelGateParams
    compare: CompareParams
    needs: NeedsParams = NeedsParams()
    serving: ServingParams
    schedule: ScheduleParams
    profiles: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    experiment: ExperimentParams = ExperimentParams()

    @model_validator(mode="after")
    def _sources_are_named_apart(self) -> "Params":
        if not self.sources:
            raise ValueError("`sources` must list at least one source")
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"each source needs a name of its own, found {sorted(names)}")
        return self


def embedder_params(params: Params) -> Params:
    """Return the parameters by which the embedder is tuned: `fine_tuning` with the changes of `embedder_tuning`."""
    own = params.embedder_tuning.model_dump(exclude={"with_answerer"}) if params.embedder_tuning else {}
    tuning = params.fine_tuning.model_copy(update=own | {"method": "embedder"})
    return params.model_copy(update={"fine_tuning": tuning})


def digest(block: BaseModel) -> str:
    """Sixteen hex characters that change when any parameter of the block changes."""
    return hashlib.sha256(json.dumps(block.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


def load_params(path: Path, profile: str | None = None) -> Params:
    """Read and check `params.yaml`, with the changes of one of its `profiles`.

    Where `generation.endpoint` is set, the profile `endpoint` comes first, if there is one: a strong model is shown
    more, and asked for more, than a small one.

    Raises:
        ConfigurationError: the file is absent, is not YAML, or a parameter is unknown, missing or out of range.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeyLoader)  # noqa: S506 (a safe loader)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path} must exist; run in the project's folder or set ALMANAC_PARAMS to its path"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} must be a readable file, found: {error.strerror}; set ALMANAC_PARAMS to the parameters' path"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise ConfigurationError(f"{path} must be valid YAML: {where}") from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{path} must hold a mapping of parameters, found {type(raw).__name__}")
    changes = raw if profile is None else _with_profile(path, raw, profile)
    if (changes.get("generation") or {}).get("endpoint") and ENDPOINT_PROFILE in (raw.get("profiles") or {}):
        raw = _with_profile(path, raw, ENDPOINT_PROFILE)
    if profile is not None:
        raw = _with_profile(path, raw, profile)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_one_line(error)}{_to_paste(error)}") from error


def _with_profile(path: Path, raw: dict[str, Any], profile: str) -> dict[str, Any]:
    profiles = raw.get("profiles") or {}
    if profile not in profiles:
        raise ConfigurationError(f"{path}: profile must be one of {sorted(profiles)}, found {profile!r}")
    changes: dict[str, dict[str, Any]] = profiles[profile]
    return raw | {block: raw.get(block, {}) | values for block, values in changes.items()}


def _to_paste(error: ValidationError) -> str:
    """The lines that an older file lacks, as they stand in the one that comes with this version."""
    places = [[str(part) for part in problem["loc"]] for problem in error.errors() if problem["type"] == "missing"]
    lines = lines_to_paste(places)
    return f"\n\nwhat it lacks, with the values that come with this version:\n\n{lines}\n" if lines else ""


def _one_line(error: ValidationError) -> str:
    reasons = []
    for problem in error.errors()[:5]:
        where = ".".join(str(part) for part in problem["loc"]) or "params"
        if problem["type"] == "extra_forbidden":
            reasons.append(f"`{where}` is no parameter; check its spelling or remove it")
        elif problem["type"] == "missing":
            reasons.append(f"`{where}` is missing; add it")
        else:
            reasons.append(f"`{where}`: {problem['msg']} (found {str(problem['input'])[:80]!r})")
    return "; ".join(reasons)
