# Two commands for a fresh machine with Python and make: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# of `make wheels` and `make gpu WHEELS=...`, for a GPU node without a network
NODE := .venv-node
PYTHON_VERSION ?= 3.12
OUT ?= runs/gpu
MINUTES ?= 9

.PHONY: demo test check unit docs gpu wheels format clean

demo: $(READY)  ## tune a real LoRA fine-tuning of the stand-in model: 14 trials, about 5 minutes
	$(BIN)/python -m objectives.tune examples/standin.toml --trials 14

test: check unit  ## ruff, mypy and the tests; .ci/run has more

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

docs: $(READY)  ## the documentation as HTML, in docs/_build; a warning is an error
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going -E -b html docs docs/_build

# REHEARSE=1 plays it on a CPU
gpu: $(if $(WHEELS),$(NODE)/ready,$(READY))  ## where there is a GPU: what only a GPU can show
	$(if $(WHEELS),,$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[quantization]")
	$(if $(WHEELS),$(NODE),.venv)/bin/python -m benchmarks.gpu --out $(OUT) --minutes $(MINUTES) $(if $(REHEARSE),--rehearse)

$(NODE)/ready: $(wildcard $(WHEELS)/*.whl)
	$(PYTHON) benchmarks/gpu/install.py $(WHEELS) $(NODE)
	touch $@

wheels:  ## into DIR what a GPU node without a network lacks; CUDA=13.0 and WITH="pyarrow ..." take more
	$(PYTHON) benchmarks/gpu/wheels.py $(or $(DIR),$(error say where to: make wheels DIR=wheels)) \
	  --python-version $(PYTHON_VERSION) $(if $(CUDA),--cuda $(CUDA)) --with "$(WITH)"

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[botorch,nomad,llm,energy,tracking,postgres,mysql,grpc,slurm,plot,dashboard,compare,test]"
	touch $@

clean:
	rm -rf .venv $(NODE) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
