"""The base: loaded, quantized, sharded; what of it LoRA adapts."""
