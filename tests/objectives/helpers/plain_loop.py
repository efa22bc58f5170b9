"""A textbook training on plain peft: the losses that ours are held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from peft import get_peft_model
from peft import LoraConfig
from peft import PeftModel
import torch
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM
from transformers import get_scheduler
from transformers import set_seed
from transformers.integrations import neftune_post_forward_hook

from objectives.data.corpus import step_batches
from objectives.model.bench import Bench
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings


CHOSEN = Hyperparameters(
    learning_rate=5e-3, weight_decay=0.1, rank=4, alpha=8, dropout=0.0, effective_batch=12
)


SETTINGS = TrainingSettings(epochs=2.0, micro_batch=5, warmup=0.3, validations=3)


def adamw(model: PeftModel) -> Optimizer:
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trainable, lr=5e-3, weight_decay=0.1)


def plain_losses(
    model_folder: Path,
    bench: Bench,
    targets: object,
    *,
    optimizer_of: Callable[[PeftModel], Optimizer] = adamw,
    noise: float = 0.0,
) -> list[float]:
    """The training losses of peft, torch and transformers alone, the whole step in one batch."""
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    set_seed(SETTINGS.seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(base, config).train()
    if noise:
        embeddings = base.get_input_embeddings()
        embeddings.neftune_noise_alpha = noise
        embeddings.register_forward_hook(neftune_post_forward_hook)
    optimizer = optimizer_of(model)
    scheduler = get_scheduler("cosine", optimizer, num_warmup_steps=3, num_training_steps=8)
    losses = []
    for (batch,) in step_batches(
        bench.corpus.train, effective_batch=12, micro_batch=12, epochs=2.0, seed=0, pad_id=0
    ):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
