"""The files of an embedding model: found, checked and named, without importing torch.

Knows the layout that sentence-transformers writes; nothing of how vectors are computed. What a folder does not say of
prefixes, pooling and lengths is taken from `tasks.index.embedding.models`.
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigurationError
from tasks.index.embedding.models import ModelNeeds, Pooling, needs_of
from tasks.index.embedding.registered import is_registered, registered_folder
from tasks.model_location import PREFIX, is_packaged, package_folder
from tasks.params import EmbeddingParams
from tasks.releases.folder import cached_sha256
from tasks.releases.kind import EMBEDDER
from tasks.settings import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUB_FILES = ["*.json", "*.txt", "*.safetensors"]
PROMPTS_FILE = "config_sentence_transformers.json"
_NO_LIMIT = 1_000_000
"""`model_max_length` above this means that the tokenizer knows of no limit."""

_POOLING_FLAGS = frozenset(
    {"cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"}
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """An embedding model on this machine.

    Attributes:
        root: the model's folder, with the modules that sentence-transformers declares.
        folder: in `root`, or `root`: holds `config.json`, `tokenizer.json` and the safetensors weights.
        weights: the safetensors files, sorted.
        pooling: how token vectors become one vector.
        hidden_size: length of a token's vector.
        dim: length of a text's vector: the first numbers of the pooled one.
        max_tokens: longer texts are cut, special tokens included.
        query_prefix: words before a question.
        document_prefix: words before a text of the index.
    """

    root: Path
    folder: Path
    weights: tuple[Path, ...]
    pooling: Pooling
    hidden_size: int
    dim: int
    max_tokens: int
    query_prefix: str = ""
    document_prefix: str = ""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """What the vectors of one embedder have in common; `Embedder` says of both what they are."""

    identity: str
    dim: int


def vector_space(params: EmbeddingParams, settings: Settings) -> VectorSpace:
    """Return it without loading the network, which costs seconds: for who only handles vectors that exist.

    Raises:
        ConfigurationError: the model cannot be found, or is none that Almanac can run.
    """
    files = find_files(params, settings)
    return VectorSpace(identity_of(files, params, settings), files.dim)


def embedder_identity(params: EmbeddingParams, settings: Settings) -> str:
    """Return what must be equal in an index and a query: `<model>:<sha256 of its files, 16 hex>:<pooling>:<precision>`.

    Behind it `:<sha256, 8 hex>` of prefixes and length, where texts bear a prefix or vectors are shortened.
    With `precision: auto` indexes may be read on a machine with other arithmetic: its vectors differ by a cosine
    of less than 0.0002.

    Raises:
        ConfigurationError: the model cannot be found, or is none that Almanac can run.
    """
    return identity_of(find_files(params, settings), params, settings)


def identity_of(files: ModelFiles, params: EmbeddingParams, settings: Settings) -> str:
    """Return the identity of a model that was found."""
    inputs = [*files.weights, files.folder / "config.json", files.folder / "tokenizer.json"]
    digests = [cached_sha256(path, settings) for path in inputs]
    digest = hashlib.sha256("".join([*digests, str(files.max_tokens)]).encode()).hexdigest()
    identity = f"{_name(params.model)}:{digest[:16]}:{files.pooling}:{params.precision}"
    needs = (files.query_prefix, files.document_prefix, files.dim)
    if needs == ("", "", files.hidden_size):
        return identity
    return f"{identity}:{hashlib.sha256(json.dumps(needs).encode()).hexdigest()[:8]}"


def _name(model: str) -> str:
    """Without what may differ between equal models: a folder's place, the version that an alias names."""
    if is_registered(model):
        return EMBEDDER.model
    return Path(model).name if Path(model).is_dir() else model.removeprefix(PREFIX)


def load_tokenizer(params: EmbeddingParams, settings: Settings) -> "Tokenizer":
    """Return the model's tokenizer, which neither cuts nor pads; does not import torch.

    Raises:
        ConfigurationError: the model cannot be found.
    """
    return tokenizer_of(find_files(params, settings))


def tokenizer_of(files: ModelFiles) -> "Tokenizer":
    """Return the tokenizer of a model that was found; neither cuts nor pads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files.folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def find_files(params: EmbeddingParams, settings: Settings) -> ModelFiles:
    """Find and check the files of `params.model`; what `params` says of it goes before what its folder says.

    Raises:
        ConfigurationError: see `find_model`; vectors longer than the model's.
    """
    files = find_model(params.model, settings)
    if params.dims is not None and params.dims > files.hidden_size:
        raise ConfigurationError(
            f"embedding.dims must be at most {files.hidden_size}, the length of the vectors of {params.model!r}, found "
            f"{params.dims}; lower it, or set it to null"
        )
    return replace(
        files,
        pooling=params.pooling or files.pooling,
        dim=params.dims or files.dim,
        max_tokens=min(files.max_tokens, params.max_tokens or files.max_tokens),
        query_prefix=files.query_prefix if params.query_prefix is None else params.query_prefix,
        document_prefix=files.document_prefix if params.document_prefix is None else params.document_prefix,
    )


def spelt_out(params: EmbeddingParams, settings: Settings) -> EmbeddingParams:
    """Return the same parameters with all that the model's folder and the table say, as a release keeps them.

    A release then answers as it did when the table changes.
    """
    files = find_files(params, settings)
    needs = {
        "query_prefix": files.query_prefix,
        "document_prefix": files.document_prefix,
        "pooling": files.pooling,
        "dims": files.dim,
        "max_tokens": files.max_tokens,
    }
    return params.model_copy(update=needs)


def find_model(model: str, settings: Settings) -> ModelFiles:
    """Find and check the files of `model`, in any of the forms of `EmbeddingParams`.

    Raises:
        ConfigurationError: not found; weights that are not safetensors; a pooling or module that is not supported.
        CorruptionError: a registered model's files are not what was registered.
        DependencyError: a registered model is not in the cache yet, and MLflow does not answer.
    """
    root = model_folder(model, settings)
    modules = _modules(root, model)
    folder = root / modules.get("Transformer", "")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ConfigurationError(
                f"embedding.model {model!r} must hold {name}, its folder {folder} does not; save the model with "
                "sentence-transformers' `save_pretrained` and name that folder"
            )
    config = _read_json(folder / "config.json")
    needs = _needs(model, config)
    query_prefix, document_prefix = _prefixes(root, needs)
    hidden_size = _hidden_size(config, model)
    return ModelFiles(
        root=root,
        folder=folder,
        weights=_weights(folder, model),
        pooling=_pooling(root, modules, model, needs),
        hidden_size=hidden_size,
        dim=hidden_size,
        max_tokens=_max_tokens(folder, config, model, needs),
        query_prefix=query_prefix,
        document_prefix=document_prefix,
    )


def _needs(model: str, config: dict[str, Any]) -> ModelNeeds:
    """What the table says of the name, else of the name that the folder's config keeps."""
    named = needs_of(model)
    return needs_of(str(config.get("_name_or_path", ""))) if named == ModelNeeds() else named


def _prefixes(root: Path, needs: ModelNeeds) -> tuple[str, str]:
    """The words before questions and texts: those that the folder declares as prompts, else those of the table."""
    path = root / PROMPTS_FILE
    declared = (_read_json(path).get("prompts") or {}) if path.is_file() else {}
    document = next((declared[name] for name in ("document", "passage") if declared.get(name)), None)
    if not declared.get("query") and document is None:
        return needs.query_prefix, needs.document_prefix
    return str(declared.get("query") or ""), str(document or "")


def model_folder(model: str, settings: Settings) -> Path:
    """Return the folder of a model in any of the forms of `EmbeddingParams`.

    Raises:
        ConfigurationError: it cannot be found.
    """
    if is_registered(model):
        return registered_folder(model, settings)
    if is_packaged(model):
        return _package_folder(model)
    if Path(model).is_dir():
        return Path(model).resolve()
    if not _HUB_ID.fullmatch(model) or model.count("/") != 1:
        raise ConfigurationError(
            f"embedding.model must be `package:<module>`, a local folder, a Hugging Face id `owner/name` or "
            f"`mlflow:almanac-embedder@champion`, found {model!r}, which is none of them; correct it in params.yaml"
        )
    return _hub_folder(model)


def _package_folder(model: str) -> Path:
    package = package_folder(model, "embedding.model")
    return package / "model" if (package / "model").is_dir() else package


def _hub_folder(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # What is on this machine is taken as it is: a model must not change under an index because its owner pushed.
    for local_files_only in (True,) if HF_HUB_OFFLINE else (True, False):
        try:
            return Path(snapshot_download(model, allow_patterns=_HUB_FILES, local_files_only=local_files_only))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
            reason = " ".join(str(error).split())[:160]
    tried = "the local Hugging Face cache" + ("" if HF_HUB_OFFLINE else " and the Hugging Face Hub")
    raise ConfigurationError(
        f"embedding.model {model!r} must be a folder or a model of Hugging Face; tried the folder {Path(model)} and "
        f"{tried} ({reason}); HF_HUB_OFFLINE=0 allows a download, or name another model"
    )


def _modules(root: Path, model: str) -> dict[str, str]:
    """Kind of each module of sentence-transformers to its folder; empty where the model declares none."""
    path = root / "modules.json"
    if not path.is_file():
        return {}
    modules = {module["type"].rpartition(".")[2]: module["path"] for module in _read_json(path)}
    unknown = set(modules) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise ConfigurationError(
            f"embedding.model {model!r} must be a transformer with pooling, found also {sorted(unknown)}; name another"
        )
    return modules


def _pooling(root: Path, modules: dict[str, str], model: str, needs: ModelNeeds) -> Pooling:
    if "Pooling" not in modules:
        return needs.pooling
    config = _read_json(root / modules["Pooling"] / "config.json")
    flags = [key.removeprefix("pooling_mode_") for key, on in config.items() if on is True]
    chosen = [flag for flag in flags if flag in _POOLING_FLAGS] or [config.get("pooling_mode")]
    if chosen in (["cls_token"], ["cls"]):
        return "cls"
    if chosen in (["mean_tokens"], ["mean"]):
        return "mean"
    if chosen == ["lasttoken"]:
        return "lasttoken"
    raise ConfigurationError(
        f"embedding.model {model!r} must pool by `mean`, `cls` or `lasttoken`, found {chosen}; name another"
    )


def _weights(folder: Path, model: str) -> tuple[Path, ...]:
    weights = tuple(sorted(folder.glob("model*.safetensors")))
    if not weights:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pkl", ".pt", ".h5"})
        raise ConfigurationError(
            f"embedding.model {model!r} must hold its weights as safetensors, found {pickles or 'no weights'}; "
            "pickled weights can run code when they are read: convert them, or name another model"
        )
    return weights


def _hidden_size(config: dict[str, Any], model: str) -> int:
    if not isinstance(config.get("hidden_size"), int):
        raise ConfigurationError(f"embedding.model {model!r} must state `hidden_size` in its config.json; name another")
    return int(config["hidden_size"])


def _max_tokens(folder: Path, config: dict[str, Any], model: str, needs: ModelNeeds) -> int:
    limits = [config.get("max_position_embeddings")]
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (folder / name).is_file():
            limits.append(_read_json(folder / name).get(key))
    bounds = [int(limit) for limit in limits if limit is not None and limit < _NO_LIMIT]
    if not bounds and needs.max_tokens:
        return needs.max_tokens
    if not bounds:
        raise ConfigurationError(
            f"embedding.model {model!r} must state its longest text; add `max_seq_length` to sentence_bert_config.json"
        )
    return min(bounds)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} must be readable JSON: {error}; install the model again") from error
