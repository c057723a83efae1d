"""A released answerer: a folder of plain files, its check, and how it becomes a generator.

```
answerer.json      Manifest: base model, method, prompt, calibration, lineage, sha256 of every other file
README.md          the model card
adapter/           LoRA: adapter_config.json, adapter_model.safetensors      (methods lora, dpo, continual_pretraining)
model/             whole weights with the tokenizer                          (method full)
```
Weights are safetensors; nothing is unpickled, and MLflow's model loaders are not used.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tasks.answer.excerpt import EXCERPT_VERSION
from tasks.answer.generators import load_generator
from tasks.answer.generators.base import Generator
from tasks.answer.generators.silent import SilentGenerator
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.prompt import NOT_FOUND, load_prompt
from tasks.device import num_parameters_of, require_memory
from tasks.errors import ConfigurationError, UnavailableError
from tasks.params import GenerationParams
from tasks.releases import folder as folders
from tasks.releases.kind import ANSWERER
from tasks.settings import Settings

Kind = Literal["excerpt", "local", "endpoint"]
EXCERPT = "excerpt"
"""The version of the answerer that shows the best excerpt; no model writes."""
BASE = str(ANSWERER.default)
"""The version of an answerer that nobody trained: `generation.model` as it comes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a released answerer is made of.

    Attributes:
        base: weights that an adapter belongs to: `Generator.identity` without its precision.
        model: `generation.model` of the base.
        method: of `fine_tuning.method`.
        prompt: its name in `tasks.answer.prompt`; `prompt_digest` must still be its digest.
        refusal_bias: see `TransformersGenerator`.
        generation: the parameters that were trained for: `num_passages`, `max_passage_tokens`, `max_new_tokens`.
        lineage: training set, its DVC revision, corpus, MLflow run, git commit, seeds.
        files: sha256 of each file by its path in the folder.
    """

    base: str
    model: str
    gguf_file: str | None
    method: str
    prompt: str
    prompt_digest: str
    refusal_bias: float
    generation: Mapping[str, int]
    lineage: Mapping[str, Any]
    files: Mapping[str, str]
    format: int = folders.FORMAT


@dataclass(frozen=True, slots=True)
class Answerer:
    """What answers: a generator, and the parameters to answer with.

    Attributes:
        version: MLflow's version of `almanac-answerer`, `base` or `excerpt`; of a knowledge base's own `handbook/3`.
        identity: of the generator; equal identity, equal answers on one kind of device.
    """

    version: str
    generator: Generator
    params: GenerationParams

    @property
    def identity(self) -> str:
        """Names model, weights and precision."""
        return self.generator.identity

    @property
    def kind(self) -> Kind:
        """What writes: nothing, a model in this process, or one at an endpoint."""
        if self.params.is_excerpt:
            return "excerpt"
        return "local" if self.params.endpoint is None else "endpoint"


def base_answerer(params: GenerationParams, settings: Settings) -> Answerer:
    """Return the base model with the parameters of `params.yaml`.

    Raises:
        ConfigurationError: the model cannot be found.
    """
    return Answerer(BASE, load_generator(params, settings), params.model_copy(update={"answerer": "model"}))


def trainable_base(params: GenerationParams, settings: Settings) -> Answerer:
    """Return the base model in the engine that trains, to be compared with what was trained in it.

    Raises:
        ConfigurationError: the model cannot be found.
    """
    return base_answerer(params.model_copy(update={"engine": "transformers"}), settings)


def default_answerer(params: GenerationParams, settings: Settings) -> Answerer:
    """Return what answers where nothing was promoted: the best excerpt, or the base model where `params.yaml` says so.

    Raises:
        ConfigurationError: the model cannot be found.
    """
    return excerpt_answerer(params) if params.is_excerpt else base_answerer(params, settings)


def excerpt_answerer(params: GenerationParams) -> Answerer:
    """Return the best excerpt of what retrieval brings: what answers without any model."""
    alone = params.model_copy(update={"answerer": "excerpt", "endpoint": None})
    return Answerer(EXCERPT, SilentGenerator(f"{EXCERPT}@{EXCERPT_VERSION}:none"), alone)


def load_answerer(
    folder: Path, params: GenerationParams, settings: Settings, *, version: str, shares_base: bool = False
) -> Answerer:
    """Check a folder and load it on its base, an adapter merged into a copy of the base's weights.

    Args:
        folder: as the head of this module describes it.
        params: what the manifest does not say.
        settings: where the base model is.
        version: names it. With `generation.endpoint` the endpoint must serve it already, as `adapter_name(version)`.
        shares_base: leave an adapter beside the base's weights, which any number of answerers then share.

    Raises:
        ConfigurationError: it was trained for another base model or prompt than this project has.
        CorruptionError: a file is not what the manifest says.
        UnavailableError: its base model is not on this machine, or its manifest has a newer format.
        DependencyError: the endpoint does not answer.
    """
    manifest = read_manifest(folder)
    _check_prompt(manifest)
    own = params.model_copy(
        update={
            "answerer": "model",
            "model": manifest.model,
            "gguf_file": manifest.gguf_file,
            "prompt": manifest.prompt,
            # It was trained for its own prompt and answers by no other.
            "prompts": {},
        }
        | dict(manifest.generation)
    )
    if own.endpoint is not None:
        from tasks.answer.generators.endpoint import EndpointGenerator, adapter_name

        return Answerer(version, EndpointGenerator(own.endpoint, adapter_name(version), settings), own)
    base = _base_of(version, own, settings)
    if weights_identity(base) != manifest.base:
        raise ConfigurationError(
            f"answerer {version} must run on base {manifest.base}, found {weights_identity(base)}; "
            "install that model again, or retrain"
        )
    generator = replace(
        _with_weights(base, folder, version, shares_base=shares_base),
        # Rounded otherwise than a merged one: an answer of the one is none of the other.
        identity=f"{base.identity}+{'beside-' if shares_base else ''}{manifest.method}@{_digest(manifest)}",
        refusal=NOT_FOUND,
        refusal_bias=manifest.refusal_bias,
    )
    return Answerer(version, generator, own)


def _base_of(version: str, own: GenerationParams, settings: Settings) -> TransformersGenerator:
    try:
        return load_base(own, settings)
    except ConfigurationError as error:
        raise UnavailableError(f"answerer {version} needs its base model, which cannot be had here: {error}") from error


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with the sha256 of every file that is in the folder."""
    return folders.write_manifest(folder, ANSWERER, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest and check every file against it.

    Raises:
        CorruptionError: no manifest, a file missing, changed or added.
        UnavailableError: the manifest has a newer format than this software reads.
    """
    return folders.read_manifest(folder, ANSWERER, Manifest)


def weights_identity(generator: Generator) -> str:
    """`Generator.identity` without the precision."""
    return generator.identity.rpartition(":")[0]


def _check_prompt(manifest: Manifest) -> None:
    digest = load_prompt(manifest.prompt).digest
    if digest != manifest.prompt_digest:
        raise ConfigurationError(
            f"the answerer was trained for prompt {manifest.prompt} with digest {manifest.prompt_digest}, found "
            f"{digest}; retrain, or take back the change of the prompt"
        )


def _with_weights(
    base: TransformersGenerator, folder: Path, version: str, *, shares_base: bool
) -> TransformersGenerator:
    import copy

    beside = num_parameters_of(folder / "adapter") if shares_base else base.model.num_parameters()
    own = num_parameters_of(folder / "model") or beside
    require_memory(f"answerer {version}", own, base.model.dtype, str(base.model.device))
    if (folder / "model").is_dir():
        from transformers import AutoModelForCausalLM

        network = AutoModelForCausalLM.from_pretrained(
            folder / "model", dtype=base.model.dtype, trust_remote_code=False, use_safetensors=True
        )
        return replace(base, model=network.to(base.model.device).eval())
    from peft import PeftModel

    if shares_base:
        beside_base: Any = PeftModel.from_pretrained(_sharing(base.model), folder / "adapter", is_trainable=False)
        return replace(base, model=beside_base.get_base_model().eval())
    # A copy: the base serves on, and comparisons need it as it was.
    adapted = PeftModel.from_pretrained(copy.deepcopy(base.model), folder / "adapter", is_trainable=False)
    return replace(base, model=adapted.merge_and_unload(safe_merge=True).eval())


def _sharing(network: Any) -> Any:
    """Return a model of its own layers over the same weights: what is put on its layers is on no other model's."""
    import copy

    from torch.nn import Parameter

    # New parameters over the same numbers: PEFT switches the gradient of those that it meets off.
    memo: dict[int, Any] = {
        id(weight): Parameter(weight.detach(), requires_grad=False) for weight in network.parameters()
    }
    memo |= {id(buffer): buffer for buffer in network.buffers()}
    return copy.deepcopy(network, memo)


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(asdict(manifest), sort_keys=True).encode()).hexdigest()[:16]
