"""What stands before the answer of an instruction; text in, text out.

The way of a row, with the template "alpaca" and `mask_prompt`:

    row      instruction = "Add 2 and 2.", output = "4"
    text     Below is an ... ### Response: | \\n4
    tokens   BOS, the context's tokens     | the answer's tokens, EOS
    labels   -100, -100, ...               | the answer's tokens, EOS
"""

from __future__ import annotations

from collections.abc import Mapping
import re


__all__ = ["prompt"]

# Stanford Alpaca's two prompts (github.com/tatsu-lab/stanford_alpaca, train.py).
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


def prompt(row: Mapping[str, str], template: str) -> str:
    """Everything that stands before the answer.

    Args:
        row: With the fields the template names; "alpaca" does without an input.
        template: "alpaca", or a text with {instruction} or other fields.
    """
    if template == "alpaca":
        template = ALPACA_WITH_INPUT if row.get("input") else ALPACA
    # Not str.format: templates and rows may hold braces, such as those of JSON.
    return re.sub(r"\{(\w+)\}", lambda match: row[match[1]], template)
