"""LoRA fine-tuning and scoring as an Optuna objective; run from the checkout."""
