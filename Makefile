# Two commands on a fresh machine: `make demo` and `make test`. Both set up everything they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# tests run side by side on all cores; a thread that spins while it waits takes the time of the others
test oldest: export GOMP_SPINCOUNT = 0

.PHONY: help setup demo test page-test oldest docs faults kills fuzz sanitize lint types nvcc wheel gpu bench fonts clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort

setup: $(READY) ## Make the virtual environment and install efm_fast with its extras

$(READY): pyproject.toml setup.py $(wildcard csrc/*/* csrc/*/*/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "efm_fast needs Python 3.10 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,docs]'
	touch $@

demo: setup ## Train Gaussian -> Swiss roll, measure it, and say where the pictures are
	$(BIN)/python -m efm_fast train gaussian_to_swissroll name=demo-$$(date +%Y%m%d-%H%M%S)

test: setup ## Run all tests that need no GPU
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --durations 20

page-test: setup ## Run the tests of `efm-fast show` in a headless Chromium, which has to be installed
	EFM_FAST_BROWSER=1 $(BIN)/python -m pytest -p no:cacheprovider tests/page/browser

# the oldest Python that is supported, or the nearest newer one on this machine
OLDEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10) $(shell command -v python3.10 || command -v python3.11 || command -v python3.12 || command -v $(PYTHON)))
OLD    := .venv-oldest
# everything but the benches, the pages, the builds of other environments, and what takes minutes elsewhere
OLDTESTS := tests/field tests/lines tests/extension tests/kernels/test_compiled.py tests/kernels/test_interpreter.py tests/data \
            tests/nets tests/methods tests/metrics tests/couplings tests/hub tests/pipelines tests/latent tests/page tests/plots \
            tests/training tests/examples tests/fuzz tests/test_cli.py tests/test_sampling.py tests/test_evaluation.py tests/test_settings.py tests/test_diagnosis.py
oldest: ## Install the oldest versions of everything that is promised, and run the tests that need no GPU
	@echo "oldest: $$($(OLDEST) --version) at $(OLDEST)"
	test -x $(OLD)/bin/python || $(OLDEST) -m venv $(OLD)
	$(OLD)/bin/python -m pip install --quiet --constraint tests/install/oldest.txt setuptools pybind11
	EFM_FAST_CUDA=0 $(OLD)/bin/python -m pip install --quiet --constraint tests/install/oldest.txt --no-build-isolation --editable '.[test]'
	$(OLD)/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal -p no:cacheprovider $(OLDTESTS)

docs: setup ## Build the documentation site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

faults: setup ## Fail every write of a training run in turn, go on, and compare bit for bit
	$(BIN)/python tests/training/faults.py

KILLS := $(BIN)/python tests/distributed/kills.py
kills: setup ## Kill processes of training jobs and torchrun itself at random places, go on, and compare bit for bit
	$(KILLS) --places 5
	$(KILLS) --places 2 --all
	$(KILLS) --places 2 --fsdp
	$(KILLS) --places 1 --torchrun
	$(KILLS) --places 1 --torchrun --launcher

CASES ?= 12000
fuzz: setup ## Compare CASES random sums, gradients and fields with float64
	$(BIN)/python -m tests.fuzz.script --cases $(CASES)

SECONDS ?= 60
sanitize: ## Run the C++ core under AddressSanitizer and UBSan for SECONDS; needs g++ only
	$(MAKE) -j 2 -C csrc/tests SECONDS=$(SECONDS)

lint: setup ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check types
	$(BIN)/mypy

nvcc: setup ## Look for stack in the CUDA part as it was built, and for warnings of nvcc; needs nvcc
	EFM_FAST_NVCC=1 $(BIN)/python -m pytest tests/extension/test_cuda_build.py

wheel: setup ## Build an sdist, wheels from it alone, with nvcc and as without it, and try each in a clean environment
	rm -rf .wheel-check *.egg-info && mkdir .wheel-check
	EFM_FAST_CUDA_ARCHS=90 $(BIN)/python -m build --outdir .wheel-check . # one architecture is a minute, all are seven
	$(BIN)/python tests/try_wheel.py .wheel-check
	EFM_FAST_CUDA=0 $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir .wheel-check/without-cuda .wheel-check/*.tar.gz
	$(BIN)/python tests/try_wheel.py .wheel-check/without-cuda --without-cuda

gpu: setup ## On a CUDA machine: GPU tests, sanitizer, benches; results in bench/results/
	$(BIN)/python -m bench.gpu

bench: setup ## Measure the field kernels on this machine
	$(BIN)/python bench/field_kernel.py

FONTS := texlive-fonts-extra texlive-fonts-recommended lmodern fonts-aenigma fonts-urw-base35 fonts-texgyre \
        fonts-dustin fonts-georgewilliams fonts-averia-gwf fonts-averia-sans-gwf fonts-averia-serif-gwf \
        fonts-mplus fonts-noto-core fonts-noto-extra fonts-roboto-unhinted fonts-roboto-fontface \
        fonts-roboto-slab fonts-lato fonts-open-sans fonts-liberation fonts-croscore fonts-freefont-ttf \
        fonts-cmu fonts-linuxlibertine fonts-sil-gentiumplus fonts-paratype fonts-ebgaramond \
        fonts-ubuntu-title fonts-pc fonts-inter fonts-manrope fonts-sora fonts-quicksand fonts-dosis \
        fonts-opendyslexic fonts-levien-museum fonts-essays1743 fonts-breip fonts-bwht fonts-dancingscript \
        fonts-lobstertwo fonts-comfortaa fonts-comic-neue fonts-cantarell fonts-junicode fonts-hack \
        fonts-jetbrains-mono fonts-firacode fonts-fantasque-sans fonts-ocr-a fonts-ocr-b fonts-roadgeek \
        fonts-jura fonts-humor-sans fonts-eurofurence
fonts: ## Install the fonts of the glyph presets, on Debian and Ubuntu; needs root and 2 GB
	apt-get install --yes --no-install-recommends $(FONTS)

clean: ## Remove what was built, but no runs
	rm -rf site build dist .wheel-check *.egg-info efm_fast/*.so .pytest_cache .mypy_cache .ruff_cache
