"""config_errors: what is said to a wrong file, one line per mistake."""

from __future__ import annotations

from pathlib import Path

from experiment_files import ORDER
from experiment_files import refusal
import pytest


# One mistake, one line: section, key, value, rule, way out.
MISTAKES = {
    "misspelt key": (
        {"data": 'train = "org/data"\nmask_promt = true'},
        "[data] mask_promt = true: there is no such key; did you mean mask_prompt?",
    ),
    "key of a section that may be left out": (
        {"proxy": "shrae = 0.5"},
        "[proxy] shrae = 0.5: there is no such key; did you mean share?",
    ),
    "key of another section": (
        {"scoring": "trials = 5"},
        "[scoring] trials = 5: there is no such key; it belongs under [study]",
    ),
    "unknown key": (
        {"model": 'name = "org/model"\nzzz = "x"'},
        '[model] zzz = "x": there is no such key; choose from name, revision, dtype, '
        "quantization, sharded, attn_implementation, use_liger_kernel",
    ),
    "misspelt section": (
        {"trainig": "epochs = 2"},
        "[trainig]: there is no such section; did you mean [training]?",
    ),
    "missing key": (
        {"model": ""},
        '[model] name is missing; add name = "meta-llama/Llama-3.2-1B"',
    ),
    "text for a number": (
        {"training": 'micro_batch = "8"'},
        '[training] micro_batch = "8": must be a whole number; for example micro_batch = 8',
    ),
    "number for text": (
        {"study": "sampler = 3"},
        '[study] sampler = 3: must be text in quotes; for example sampler = "bamsoo"',
    ),
    "not finite": (
        {"training": "epochs = inf"},
        "[training] epochs = inf: must be a finite number; for example epochs = 1.0",
    ),
    "out of range": (
        {"training": "warmup = 1"},
        "[training] warmup = 1: must be < 1.0; for example warmup = 0.05",
    ),
    "misspelt choice": (
        {"model": 'name = "org/model"\ndtype = "bf16"'},
        "[model] dtype = \"bf16\": must be 'auto', 'float32', 'bfloat16' or 'float16'; "
        'did you mean "bfloat16"?',
    ),
    "targets": (
        {"training": 'targets = "q_proj"'},
        '[training] targets = "q_proj": must be "all-linear", "attention", "mlp" or a list of '
        "module names; "
        'for example targets = ["q_proj", "v_proj"]',
    ),
    "template without a column": (
        {"data": 'train = "org/data"\ntemplate = "Question:"'},
        '[data] template = "Question:": must be "alpaca", "chat", or a text with a column such as '
        '{instruction} in it; write template = "alpaca"',
    ),
    "a part that no format has": (
        {"data": 'train = "org/data"\nfields = {instrution = "question"}'},
        '[data] fields = {instrution = "question"}: no format has a part `instrution`; '
        "did you mean instruction?",
    ),
    "parts of another format": (
        {"data": 'train = "org/data"\nformat = "text"\nfields = {output = "answer"}'},
        '[data] fields = {output = "answer"}: format = "text" has the parts text; name those, or '
        "another format",
    ),
    "a template of another format": (
        {"data": 'train = "org/data"\nformat = "messages"\ntemplate = "{instruction}"'},
        '[data] template = "{instruction}": stands before the answers of instructions, and the '
        'rows are of messages; leave it out, or set format = "instruction"',
    ),
    "a system turn of texts": (
        {"data": 'train = "org/data"\nformat = "instruction"\nsystem = "Be brief."'},
        '[data] system = "Be brief.": is for chats, and rows of instruction are written out as '
        'texts; set template = "chat", or leave it out',
    ),
    "a weight of nothing": (
        {"data": 'train = {name = "org/data", weight = 0}'},
        '[data] train.weight = 0: must be > 0; write for example {name = "rows.jsonl", '
        "weight = 0.5}",
    ),
    "a source without a name": (
        {"data": 'train = ["org/data", {split = "train"}]'},
        '[data] train = {split = "train"}: `name` is missing; write for example '
        '{name = "rows.jsonl", weight = 0.5}',
    ),
    "a misspelt key of a source": (
        {"data": 'train = {name = "org/data", splitt = "train"}'},
        '[data] train.splitt = "train": there is no such key; did you mean split?',
    ),
    "no source": (
        {"data": "train = []"},
        '[data] train = []: must not be empty; for example train = "yahma/alpaca-cleaned"',
    ),
    "validation rows from two places": (
        {"data": 'train = "org/data"\nvalidation = "org/other"\nvalidation_rows = 8'},
        "[data] validation_rows = 8: takes validation rows from the training rows, and "
        "`validation` names others; leave one of the two out (validation_limit takes a part of "
        "the others)",
    ),
    "rank 0": (
        {"search": "rank = 0"},
        "[search] rank = 0: must be >= 1; usual values are 4 to 64",
    ),
    "rank from 0": (
        {"search": "rank = {low = 0, high = 8}"},
        "[search] rank = {low = 0, high = 8}: `low` must be >= 1; usual values are 4 to 64",
    ),
    "half a rank": (
        {"search": "rank = {low = 2, high = 8.5}"},
        "[search] rank = {low = 2, high = 8.5}: `high` must be a whole number; for example 8",
    ),
    "dropout 1": (
        {"search": "dropout = {low = 0.0, high = 1.0}"},
        "[search] dropout = {low = 0.0, high = 1.0}: `high` must be >= 0 and < 1; "
        "at 1 the adapter gets no gradient; usual values are 0 to 0.1",
    ),
    "effective batch": (
        {"search": "effective_batch = {choices = [-4, 8]}"},
        "[search] effective_batch = {choices = [-4, 8]}: each of `choices` must be >= 1; "
        "usual values are 4 to 64 samples",
    ),
    "learning rate 0": (
        {"search": "learning_rate = 0.0"},
        "[search] learning_rate = 0.0: must be > 0; usual values are 1e-5 to 1e-3",
    ),
    "alpha 0": (
        {"search": "alpha = 0"},
        "[search] alpha = 0: must be > 0; usual values are 4 to 64",
    ),
    "weight decay below 0": (
        {"search": "weight_decay = -0.1"},
        "[search] weight_decay = -0.1: must be >= 0; 0 switches it off",
    ),
    "bounds reversed": (
        {"search": "rank = {low = 64, high = 2}"},
        "[search] rank = {low = 64, high = 2}: `low < high` must hold; swap the bounds, "
        "or write one number to fix it",
    ),
    "log of 0": (
        {"search": "weight_decay = {low = 0.0, high = 0.1, log = true}"},
        "[search] weight_decay = {low = 0.0, high = 0.1, log = true}: `low > 0` must hold "
        "where `log = true`; raise low or leave log out",
    ),
    "log and step": (
        {"search": "rank = {low = 2, high = 8, log = true, step = 2}"},
        "[search] rank = {low = 2, high = 8, log = true, step = 2}: `step` and `log = true` "
        "exclude each other; leave one of them out",
    ),
    "step beside the range": (
        {"search": "rank = {low = 2, high = 9, step = 2}"},
        "[search] rank = {low = 2, high = 9, step = 2}: `high - low` must be a multiple of "
        "`step`; change high or step",
    ),
    "step 0": (
        {"search": "dropout = {low = 0.0, high = 0.5, step = 0.0}"},
        "[search] dropout = {low = 0.0, high = 0.5, step = 0.0}: `step` must be a positive "
        "number of the same kind; correct or omit it",
    ),
    "a rank that is no integer": (
        {"search": "rank = {low = 2, high = 8, integer = false}"},
        "[search] rank = {low = 2, high = 8, integer = false}: `integer` cannot be changed, "
        "rank takes whole numbers; leave integer out",
    ),
    "repeated choices": (
        {"search": "rank = {choices = [2, 2]}"},
        "[search] rank = {choices = [2, 2]}: `choices` must differ from each other; "
        "leave the repeated ones out",
    ),
    "no choices": (
        {"search": "rank = {choices = []}"},
        "[search] rank.choices = []: must not be empty; "
        "write a number, {low = ..., high = ...} or {choices = [...]}",
    ),
    "half a range": (
        {"search": "rank = {high = 8}"},
        "[search] rank = {high = 8}: `low` is missing; "
        "write a number, {low = ..., high = ...} or {choices = [...]}",
    ),
    "misspelt key of a range": (
        {"search": "rank = {low = 2, high = 8, logg = true}"},
        "[search] rank.logg = true: there is no such key; did you mean log?",
    ),
    "text for a range": (
        {"search": 'rank = "8"'},
        '[search] rank = "8": must be a number, a range or choices; '
        "write a number, {low = ..., high = ...} or {choices = [...]}",
    ),
    "a variant fixed where it is searched": (
        {"search": "dora = true"},
        "[search] dora = true: must be {choices = [...]}; "
        "a fixed one belongs under [training]: dora = ...",
    ),
    "a variant of one choice": (
        {"search": "rslora = {choices = [true]}"},
        "[search] rslora = {choices = [true]}: must have at least two different `choices`; "
        "add one, or fix it under [training]",
    ),
    "a number for a truth value": (
        {"search": "dora = {choices = [0, 1]}"},
        "[search] dora = {choices = [0, 1]}: each of `choices` must be true or false; "
        "write choices = [true, false]",
    ),
    "a group that nobody knows": (
        {"search": 'targets = {choices = ["all-linear", "atention"]}'},
        '[search] targets = {choices = ["all-linear", "atention"]}: each of `choices` must be '
        '"all-linear", "attention", "mlp" or a list of module names; '
        'for example targets = ["q_proj", "v_proj"]',
    ),
    "a variant in two sections": (
        {"training": "dora = false", "search": "dora = {choices = [true, false]}"},
        "[search] dora = {choices = [true, false]}: is fixed under [training] as well; "
        "leave it out in one of the two sections",
    ),
    "neither on, off nor auto": (
        {"training": "gradient_checkpointing = 1"},
        '[training] gradient_checkpointing = 1: must be true, false or "auto"; for example '
        "gradient_checkpointing = true",
    ),
    "two lengths of a training": (
        {"training": "epochs = 1.0\nmax_steps = 5"},
        "[training] max_steps = 5: is in the place of epochs, and both are given; leave one of "
        "the two out",
    ),
    "an optimizer that is none": (
        {"training": 'optimizer = "adafactr"'},
        "[training] optimizer = \"adafactr\": must be 'adamw_torch_fused', 'adamw_torch', "
        "'adafactor', 'sgd', 'adamw_8bit', 'paged_adamw_8bit', 'paged_adamw_32bit', 'lion_8bit', "
        "'lion_32bit' or 'paged_lion_8bit'; did you mean \"adafactor\"?",
    ),
    "a B that is slower than A": (
        {"training": "loraplus_lr_ratio = 0.5"},
        "[training] loraplus_lr_ratio = 0.5: must be >= 1.0; for example loraplus_lr_ratio = 1.0",
    ),
    "a start from data": (
        {"training": 'init_lora_weights = "eva"'},
        '[training] init_lora_weights = "eva": needs gradients, activations or a quantised base, '
        "and an adapter here starts from the base's weights alone; "
        'write "pissa_niter_16", "olora", "gaussian" or "default"',
    ),
    "a start that nobody knows": (
        {"training": 'init_lora_weights = "pisa"'},
        "[training] init_lora_weights = \"pisa\": must be 'default', 'gaussian', 'pissa', "
        "'pissa_niter_4', 'pissa_niter_16' or 'olora'; did you mean \"pissa\"?",
    ),
    "no kind of attention": (
        {"model": 'name = "org/model"\nattn_implementation = "flash"'},
        "[model] attn_implementation = \"flash\": must be 'eager', 'sdpa', 'flash_attention_2', "
        "'flash_attention_3' or 'flex_attention'; correct it or leave the key out",
    ),
    "a setting's range out of its rule": (
        {"search": "warmup = {low = 0, high = 1}"},
        "[search] warmup = {low = 0, high = 1}: `high` must be < 1.0; the default is 0.05",
    ),
    "a setting's range the wrong way round": (
        {"search": "clip = {low = 2, high = 1}"},
        "[search] clip = {low = 2, high = 1}: `low < high` must hold; swap the bounds, or fix it "
        "under [training]",
    ),
    "a setting's range without an end": (
        {"search": "clip = {low = 1}"},
        "[search] clip = {low = 1}: `high` is missing; write {low = ..., high = ...} or "
        "{choices = [...]}",
    ),
    "a range of names": (
        {"search": "optimizer = {low = 1, high = 2}"},
        "[search] optimizer = {low = 1, high = 2}: must be {choices = [...]}; a fixed one belongs "
        "under [training]: optimizer = ...",
    ),
    "one number that is searched": (
        {"search": "loraplus_lr_ratio = 16"},
        "[search] loraplus_lr_ratio = 16: must be {low = ..., high = ...} or {choices = [...]}; a "
        "fixed one belongs under [training]: loraplus_lr_ratio = ...",
    ),
    "a choice that is none": (
        {"search": 'schedule = {choices = ["cosine", "lineal"]}'},
        '[search] schedule = {choices = ["cosine", "lineal"]}: each of `choices` must be '
        "'cosine', 'linear' or 'constant'; did you mean \"linear\"?",
    ),
    "a setting that cannot be searched": (
        {"search": "micro_batch = {low = 1, high = 2}"},
        "[search] micro_batch = {low = 1, high = 2}: there is no such key; it belongs under "
        "[training]",
    ),
    "nothing searched": (
        {"search": "\n".join(f"{name} = {0.5 if name == 'dropout' else 1}" for name in ORDER)},
        "[search]: every hyperparameter is fixed; give at least one of them a range",
    ),
    "test on the objective": (
        {"scoring": 'objective = "mmlu"\ntest = ["hellaswag", "mmlu"]'},
        '[scoring] test = ["hellaswag", "mmlu"]: must not hold the objective\'s task: the best of '
        "many trials on it is no test; test on another task, or set same_task = true",
    ),
}


@pytest.mark.parametrize(("sections", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gives_one_line(tmp_path: Path, sections: dict[str, str], line: str) -> None:
    assert refusal(tmp_path, **sections) == [line]
