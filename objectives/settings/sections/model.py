"""`[model]`: the base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from typing import Literal

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import Field
from pydantic import model_validator
from pydantic import ValidationInfo

from objectives.settings.config_errors import refuse
from objectives.settings.sections.paths import folder_or_hub
from objectives.settings.strict import STRICT


__all__ = ["ModelSettings"]


class ModelSettings(BaseModel):
    """`[model]`: the base.

    Attributes:
        name: A folder, or a name on the hub.
        revision: Branch, tag or commit on the hub.
        dtype: Of the base's weights; auto is bfloat16 where there is CUDA, else float32.
        quantization: "4bit" keeps the base's linear weights in NormalFloat 4 (QLoRA) and computes
            in dtype; needs bitsandbytes and CUDA.
        sharded: Each of a trial's GPUs holds a share of the base (FSDP), for one that a single
            GPU does not hold; needs `gpus_per_trial` of 2 or more. No value depends on it.
        attn_implementation: transformers' name of how attention is computed; None is its choice.
        use_liger_kernel: Triton kernels of the package liger-kernel for norms, rotations and
            MLPs; needs CUDA.
    """

    model_config = STRICT

    name: Annotated[str, Field(min_length=1), AfterValidator(folder_or_hub)] = Field(
        examples=["meta-llama/Llama-3.2-1B"]
    )
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["4bit"] | None = None
    sharded: bool = False
    attn_implementation: (
        Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None
    ) = None
    use_liger_kernel: bool = False

    @model_validator(mode="after")
    def _revised_on_the_hub(self, info: ValidationInfo) -> ModelSettings:
        of_file = info.context is not None
        if of_file and self.revision is not None and Path(self.name).is_absolute():
            raise refuse(
                "is for a name on the hub, and the base is a folder here",
                "leave it out",
                key="revision",
                value=self.revision,
            )
        return self
