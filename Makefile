# `make demo` runs the whole pipeline on drawn images, `make test` the quick tests, `make slow` the slow ones,
# `make faults` the whole fault suite (kills, full disks, mutations); `make docs` builds the site. Each target first
# installs into .venv. `make lowest` runs the quick tests in an environment of its own, .venv-lowest, with the lowest
# versions that pyproject.toml allows.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo

.PHONY: demo test slow faults lowest check docs clean

demo: .venv/installed
	$(BIN)/alexprep demo-images $(DEMO)/images
	$(BIN)/alexprep shard $(DEMO)/images --out $(DEMO)/shards
	$(BIN)/alexprep pca $(DEMO)/shards
	$(BIN)/alextrain --shards $(DEMO)/shards --runs $(DEMO)/runs --recipe quick
	$(BIN)/alexeval --shards $(DEMO)/shards $(DEMO)/runs/quick
	@echo "Pictures:"; ls $(DEMO)/shards/train/*.png $(DEMO)/runs/quick/*.png

test: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal

slow: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal -m slow

faults: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal -m faults

lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) .ci/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/lowest.txt --editable '.[all,cu12,test]'
	.venv-lowest/bin/pytest -n 2 --dist worksteal

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build
	@echo "docs/_build/index.html"

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "alexkit needs Python 3.11 or newer; select one with: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "this Python cannot create virtual environments; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .venv-lowest $(DEMO) build dist src/*.egg-info docs/_build
