"""Makes data/lcbench.npz of YAHPO Gym's model, an ONNX file: its path is the argument.

Needs onnx. What a batch normalisation and a task's embedding do is folded into the layers beside
them; 16 bits a number remain.
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import numpy as np


EPSILON = 1e-5  # of the model's batch normalisations
TASK = 24  # numbers that tell of a task
Weights = dict[str, Any]


def norm(w: Weights, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A batch normalisation as scale and shift."""
    scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + EPSILON)
    return scale, w[f"{name}.bias"] - scale * w[f"{name}.running_mean"]


def folded(w: Weights) -> Weights:
    first = w["first_layer.weight"]
    out = {
        "first": first[:, TASK:].T,
        "tasks": w["embds_fct.0.weight"] @ first[:, :TASK].T + w["first_layer.bias"],
    }
    for i in range(3):
        scale, shift = norm(w, f"layers.{i}.norm")
        inner = w[f"layers.{i}.linear0.weight"]
        out[f"in{i}"] = (inner * scale).T
        out[f"in{i}_bias"] = inner @ shift + w[f"layers.{i}.linear0.bias"]
        out[f"out{i}"] = w[f"layers.{i}.linear1.weight"].T
        out[f"out{i}_bias"] = w[f"layers.{i}.linear1.bias"]
    out["scale"], out["shift"] = norm(w, "last_normalization")
    return out | {"head": w["head.weight"][:2].T, "head_bias": w["head.bias"][:2]}


def main() -> None:
    import onnx

    tensors = onnx.load(sys.argv[1]).graph.initializer
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in tensors}
    halves = {name: each.astype(np.float16) for name, each in folded(weights).items()}
    np.savez_compressed(Path(__file__).parents[1] / "data" / "lcbench.npz", **halves)


if __name__ == "__main__":
    main()
