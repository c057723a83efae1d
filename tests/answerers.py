"""Small answerers as a retrain would make them: a random LoRA adapter on a tiny chat model, registered in MLflow."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.answer.answerer import Manifest, weights_identity, write_manifest
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.parity.record import record_parity, write_parity
from tasks.answer.prompt import load_prompt
from tasks.model.answerer import register
from tasks.model.training.run_log import end_run, open_run
from tasks.params import GenerationParams
from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.settings import Settings


def save_answerer(folder: Path, params: GenerationParams, settings: Settings, *, seed: int) -> Path:
    """Write an answerer whose random adapter is `seed`'s: other seeds write other answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    base = load_base(params, settings)
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=256, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return save_adapted(folder, params, base, get_peft_model(copy.deepcopy(base.model), config), seed=seed)


def save_adapted(
    folder: Path, params: GenerationParams, base: TransformersGenerator, adapted: Any, *, seed: int
) -> Path:
    """Write an answerer: the adapter of a PEFT model, what that model says, and the manifest."""
    adapted.save_pretrained(folder / "adapter")
    (folder / "README.md").write_text(f"# Answerer {seed}\n")
    prompt = load_prompt(params.prompt)
    write_parity(folder, record_parity(replace(base, model=adapted.eval()), prompt))
    kept = ("num_passages", "max_passage_tokens", "max_new_tokens")
    write_manifest(
        folder,
        Manifest(
            base=weights_identity(base),
            model=params.model,
            gguf_file=params.gguf_file,
            method="lora",
            prompt=prompt.name,
            prompt_digest=prompt.digest,
            refusal_bias=0.0,
            generation={name: getattr(params, name) for name in kept},
            lineage={"seed": seed},
            files={},
        ),
    )
    return folder


def register_answerer(settings: Settings, folder: Path, *, key: str, kind: ReleaseKind = ANSWERER) -> str:
    """Log and register a folder; it is the challenger then. Return MLflow's version."""
    run_id = open_run(settings, ANSWERER.model, key, name=key)
    version = register.register_answerer(
        settings, kind, key=key, run_id=run_id, folder=folder, tags={}, description=key
    )
    end_run(settings, run_id)
    return version
