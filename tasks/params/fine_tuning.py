"""How an answerer, or the embedder, is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.params.sources import Block, Share

Method = Literal["lora", "full", "continual_pretraining", "dpo", "embedder"]


class FineTuningParams(Block):
    """How the answerer (or the embedder) is trained; steps are optimiser steps.

    `max_steps` null: as many as `num_train_epochs` need. `max_validation_examples` null: all, else so many give the
    validation loss and the calibration. `max_false_refusals` bounds the share of answerable validation questions that
    the calibrated answerer may refuse. `trained_share` is the share of the way from the base's weights to the trained
    ones that is kept: below 1 it forgets less; not for `embedder`. `quantization` is of the base's weights while an
    adapter is trained over them; `gradient_checkpointing` computes layers again in place of keeping what they gave.
    Neither is of `embedder`.
    """

    method: Method
    learning_rate: Annotated[float, Field(gt=0)]
    num_train_epochs: Annotated[float, Field(gt=0)]
    max_steps: Annotated[int, Field(ge=1)] | None
    per_device_train_batch_size: Annotated[int, Field(ge=1)]
    max_length: Annotated[int, Field(ge=128)]
    warmup_ratio: Share
    lora_r: Annotated[int, Field(ge=1)]
    lora_alpha: Annotated[float, Field(gt=0)]
    save_steps: Annotated[int, Field(ge=1)]
    eval_steps: Annotated[int, Field(ge=1)]
    max_validation_examples: Annotated[int, Field(ge=1)] | None
    early_stopping_patience: Annotated[int, Field(ge=1)]
    trained_share: Annotated[float, Field(gt=0, le=1)]
    max_false_refusals: Share
    seed: int
    quantization: Literal["nf4"] | None = None
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _four_bits_bear_an_adapter(self) -> "FineTuningParams":
        if self.quantization and self.method == "full":
            raise ValueError(f"quantization {self.quantization} must have a method that trains an adapter, found full")
        return self
