# Two commands for a fresh machine with Python and make: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test check unit gpu format clean

demo: $(READY)  ## tune a real LoRA fine-tuning of the stand-in model: 14 trials, about 5 minutes
	$(BIN)/python -m objectives.tune examples/standin.toml --sampler soo --trials 14

test: check unit  ## everything CI runs

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

gpu: $(READY)  ## where there is a GPU: its tests, then trials per hour beside a plain script, 1 B
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[quantization]"
	OPTUNA_PARTITION_GPU=1 $(BIN)/python -m pytest tests/objectives/gpu
	OPTUNA_PARTITION_GPU=1 $(BIN)/python -m pytest tests/objectives/test_variants.py -k four_bits
	$(BIN)/python benchmarks/throughput.py --model random:1b --modes warm,pack4,pack8 --out gpu.jsonl

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[botorch,nomad,llm,energy,tracking,postgres,mysql,grpc,plot,dashboard,compare,test]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
