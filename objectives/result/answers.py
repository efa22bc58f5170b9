"""Sample answers of base and best adapter, to prompts of the validation; imports no torch."""

from __future__ import annotations

from objectives.job import Failed
from objectives.job import Questions
from objectives.job import Trainer
from objectives.report.given import SampleAnswer


__all__ = ["sample_answers"]


def sample_answers(trainer: Trainer, adapter: str, count: int) -> list[SampleAnswer]:
    """Both models' answers side by side; none where a model could not answer.

    Args:
        trainer: Asks the models.
        adapter: Folder of the best one.
        count: Prompts.
    """
    base, best = (trainer.ask(Questions(folder, count)) for folder in (None, adapter))
    if isinstance(base, Failed) or isinstance(best, Failed):
        return []
    return [
        SampleAnswer(tuned.prompt, tuned.expected, untuned.said, tuned.said)
        for untuned, tuned in zip(base, best, strict=True)
    ]
