# Loystream: `make run` shows it working, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PROCESSES ?= $(if $(LOY_TEST_BOOTSTRAP),0,3)

.PHONY: help install lock run up test check fmt bench bench-sinks soak fuzz boards schemas manifests clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP)  ## Python packages, Java and Maven if missing, and the Kafka server jars

$(STAMP): requirements.lock pyproject.toml deploy/kafka/pom.xml deploy/install.sh
	@bash deploy/install.sh "$(PYTHON)" "$(VENV)"
	@touch $@

lock:  ## write requirements.lock anew (hashed, naming no index)
	@$(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q uv
	@$(BIN)/uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock
	@$(BIN)/uv pip compile -q pyproject.toml -c requirements.lock --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o deploy/requirements.lock
	@printf 'setuptools\nmypy\n' | $(BIN)/uv pip compile -q - -c requirements.lock --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o deploy/build.lock
	@$(BIN)/uv pip compile -q deploy/peers/quix.in --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o deploy/peers/quix.lock

run: install  ## real Kafka, a real worker, weeks of real baskets, and the proof; ends by itself
	@$(BIN)/loy demo

up: install  ## the whole system on this machine, until Ctrl-C
	@$(BIN)/loy up

test: install check  ## every check and every test, in three processes (PROCESSES=0: one after another)
	@$(BIN)/pytest -n $(PROCESSES)

check: install  ## style, types, layers, generated schemas and boards: what `make test` begins with
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m schemas.export --check
	@$(BIN)/python -m streams.boards --check

fmt: install  ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

boards: install  ## write deploy/grafana from the code
	@$(BIN)/python -m streams.boards

schemas: install  ## write schemas/json, the AsyncAPI document and the core's records from the models
	@$(BIN)/python -m schemas.export

manifests: install  ## write what Kubernetes should know of topics and rules from the code
	@$(BIN)/python -m streams.manifests

bench: install  ## the whole path measured, beside Quix Streams, Kafka Streams and a plain loop in the same run
	@$(BIN)/loy bench

bench-sinks: install  ## each sink measured against its vendor's limits, in a sandbox
	@$(BIN)/loy bench-sinks

soak: install  ## faults for MINUTES (30) on three brokers with SEED (1), every account judged
	@$(BIN)/loy chaos --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

fuzz: install  ## INPUTS (a million) broken records through intake and ledger, with SEED (1)
	@$(BIN)/loy fuzz --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)

clean:  ## forget the environment and local data (not the Maven cache)
	@rm -rf $(VENV) .loystream build *.egg-info
