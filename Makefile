# `make up` and `make test` need Python 3.11 and make. The toolchain finds, fetches or builds other
# programs.

# `make import` must not replace the stack local.
STACK ?= $(if $(filter import,$(MAKECMDGOALS)),imported,local)
PYTHON ?= python3
VENV := $(CURDIR)/.venv
STATE := $(CURDIR)/.state

ifneq ($(filter local trial,$(STACK)),)
# The state, login and plugins of these stacks are in this checkout, separate from your own. Their
# passphrase is public, so they must not contain real secrets.
export PULUMI_HOME := $(STATE)/pulumi
export PULUMI_BACKEND_URL := file://$(STATE)
export PULUMI_CONFIG_PASSPHRASE := local
YES ?= 1
endif
# $(1) as a single word of a shell command.
quoted = '$(subst ','\'',$(1))'
# $(1) if it is 1, y, yes or true, in any case; otherwise nothing.
true = $(filter 1 y yes true,$(call lower,$(1)))
lower = $(subst E,e,$(subst R,r,$(subst S,s,$(subst T,t,$(subst U,u,$(subst Y,y,$(1)))))))
# YES=1 skips the confirmation. ALLOW_LOSS lists resources that a change may delete for good.
CONSENT = $(if $(call true,$(YES)),--yes)
ALLOWED = $(if $(ALLOW_LOSS),$(call quoted,--allow-loss=$(ALLOW_LOSS)))
FORMAT ?= text
# The options of `make import` are read from make's command line only, and not exported, because a
# Compose file may use variables of the same names.
IMPORT_OPTIONS := COMPOSE SERVICE SWARM_STACK CONFIG_PATH FILES SET
given = $(if $(filter command,$(origin $(1))),$($(1)))
ifneq ($(filter import,$(MAKECMDGOALS)),)
$(foreach option,STACK $(IMPORT_OPTIONS),$(if $(call given,$(option)),$(eval unexport $(option))))
endif
# REFRESH=no allows a preview if the engine or OSS cannot be reached.
NO_REFRESH = $(if $(filter no,$(REFRESH)),--no-refresh)
# CLOUD: the variables with which the trial stack uses the emulator that `make emulator` runs.
ifeq ($(STACK),trial)
-include $(STATE)/emulator/trial.mk
endif
export PULUMI_SKIP_UPDATE_CHECK := true
# Without bytecode files, each run would compile the program and the plugins of pytest again.
unexport PYTHONDONTWRITEBYTECODE
# An Output in an f-string is an error. By default, Pulumi would deploy a warning as its text.
export PULUMI_ERROR_OUTPUT_STRING := 1
# Programs on PATH take precedence over those that the toolchain links. `value` prevents the
# expansion of a `$` in a folder's name.
export PATH := $(VENV)/bin:$(value PATH):$(STATE)/bin

LOCK := --quiet --universal --python-version 3.11 --annotation-style line \
	--custom-compile-command "make lock"

# A test waits for the engine about half of its time, so five workers keep two cores busy. GOGC=400
# reduces garbage collection in Pulumi's processes, which run only for seconds.
PYTEST := GOGC=400 pytest -p tests.integration.leftovers \
	--numprocesses 5 --dist loadscope --no-loadscope-reorder
QUICK := 'quick or not (local or oss or secure or ops or swarm)'

# The variables that `make env` prints. The passphrase is one of them only if it is the public one.
ENV = PATH PULUMI_HOME PULUMI_BACKEND_URL PULUMI_SKIP_UPDATE_CHECK PULUMI_ERROR_OUTPUT_STRING \
	$(if $(filter file,$(origin PULUMI_CONFIG_PASSPHRASE)),PULUMI_CONFIG_PASSPHRASE) \
	$(foreach assignment,$(CLOUD),$(firstword $(subst =, ,$(assignment))))

# The stacks that CI deploys, as a JSON list: all except those whose state is in a checkout.
empty :=
comma := ,
CI_STACKS = [$(subst $(empty) ,$(comma),$(patsubst %,"%",$(filter-out local trial,$(patsubst \
	stacks/Pulumi.%.yaml,%,$(wildcard stacks/Pulumi.*.yaml)))))]

.PHONY: help up preview drift render down move rotate gc status login import test test-all unit check format \
	emulator verify-oss bench schema lock env engine-stop stacks comment ready

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

up: ready ## make or change the registry of STACK (local, unless you say another)
	@$(CLOUD) python -m operations up $(call quoted,$(STACK)) $(CONSENT) $(ALLOWED)

preview: ready ## show what `up` would change; FORMAT=markdown for a reviewer
	@$(CLOUD) python -m operations preview $(call quoted,$(STACK)) --format=$(FORMAT) $(NO_REFRESH)

stacks: ## list the stacks that have a place of their own in CI, as JSON
	@echo '$(CI_STACKS)'

comment: $(VENV)/runtime ## put FILE, which `preview` wrote, below the PULL_REQUEST (in CI)
	@python -m operations comment "$$PULL_REQUEST" $(FILE)

drift: ready ## fail where what is there is not what the stack file says
	@$(CLOUD) python -m operations drift $(call quoted,$(STACK)) --format=$(FORMAT)

import: $(VENV)/runtime ## import a registry from COMPOSE, a Compose file or its folder
	@loader=$$(python -m toolchain import) && python -m operations import $(call quoted,$(STACK)) \
		--loader="$$loader" $(call quoted,--compose=$(call given,COMPOSE)) \
		$(call quoted,--service=$(call given,SERVICE)) \
		$(call quoted,--swarm-stack=$(call given,SWARM_STACK)) \
		$(call quoted,--config-path=$(call given,CONFIG_PATH)) \
		$(call quoted,--files=$(call given,FILES)) $(call quoted,--set=$(call given,SET))

render: $(VENV)/runtime ## print what the registry is given, without an engine or a cloud
	@python -m operations render $(call quoted,$(STACK))

down: ready ## remove the registry, but not its images
	@$(CLOUD) python -m operations down $(call quoted,$(STACK)) $(CONSENT) $(ALLOWED)

move: ready ## take the registry to another RUNTIME (container or swarm), with all its images
	@$(if $(RUNTIME),,echo 'say where to: make move STACK=$(STACK) RUNTIME=swarm'; exit 1)
	@$(CLOUD) python -m operations move $(call quoted,$(STACK)) --runtime=$(RUNTIME) $(CONSENT)

rotate: ready ## replace the access key (LABEL names the new one), or go on where a rotation ended
	@$(CLOUD) python -m operations rotate $(call quoted,$(STACK)) $(if $(LABEL),--label=$(LABEL)) $(CONSENT)

gc: ready ## free the room of deleted images; DRY_RUN=1 says how much it is
	@# `exec` replaces the shell, so that a SIGTERM to make reaches the program.
	@$(CLOUD) exec python -m operations gc $(call quoted,$(STACK)) $(if $(call true,$(DRY_RUN)),--dry-run)

status: ready ## say how STACK does; fails where something does not work
	@$(CLOUD) python -m operations status $(call quoted,$(STACK))

test: check ## check the code, then run one pass over the product on real parts
	@python -m toolchain test
	@REFERENCE_EXAMPLES=100 $(PYTEST) -m $(QUICK)
	@echo "Not part of make test: Swarm, the load balancer, Let's Encrypt and ssh; faults, killed runs"
	@echo 'and attacks; releases other than 3.1.2, except a push to 2.8.3.'
	@echo 'Run all tests with: make test-all'

test-all: check ## check the code, then run every test
	@python -m toolchain test-all
	@$(PYTEST) -p tests.integration.warm_host

unit: $(VENV)/dev ## run the tests that need no engine
	@pytest tests/unit

check: $(VENV)/dev ## lint, check types, and links and commands in the pages
	@ruff format --check --quiet
	@ruff check --quiet
	@mypy
	@pytest --quiet --no-header --no-summary tests/docs

format: $(VENV)/dev ## mend what the linter can
	@ruff format
	@ruff check --fix

emulator: $(VENV)/dev ## run an emulator of Alibaba Cloud, for `make up STACK=trial` in another terminal
	@python -m toolchain up local
	@python -m tests.emulator $(STATE)/emulator

login: ready ## let docker log in as USER of STACK, the password unseen
	@$(if $(filter command,$(origin USER)),,echo 'say who: make login STACK=$(STACK) USER=…'; exit 1)
	@python -m operations login $(call quoted,$(STACK)) --user="$$USER"

verify-oss: $(VENV)/dev ready ## ask the real OSS whether it does what the releases need, with STACK's own key
	@$(CLOUD) python -m operations verify-oss $(call quoted,$(STACK))

bench: $(VENV)/dev ## measure, and write docs/benchmarks.md anew; FULL=1 measures more, for hours
	@python -m toolchain test-all
	@FULL=$(call true,$(FULL)) python -m bench

schema: $(VENV)/dev ## write what the releases and the settings say of themselves
	@python -m tests.reference.dump
	@python -m operations schema > stacks/schema.json
	@python -m operations schema --page > docs/settings.md

lock: $(VENV)/dev ## pin what pyproject.toml asks for
	@uv pip compile $(LOCK) pyproject.toml --output-file requirements.txt
	@uv pip compile $(LOCK) pyproject.toml --group dev --output-file requirements-dev.txt

env: ## print what your own pulumi commands need: eval "$(make env)"
	@$(CLOUD) $(PYTHON) -m toolchain.env $(ENV)

engine-stop: $(VENV)/runtime ## end the Docker engine that make started
	@python -m toolchain engine-stop

ready: $(VENV)/runtime
	@python -m toolchain up $(call quoted,$(STACK))
ifneq ($(filter local trial,$(STACK)),)
	@test -e $(STATE)/.pulumi/stacks/oss-registry/$(STACK).json || pulumi stack init $(STACK)
endif

$(VENV)/runtime: requirements.txt
	$(call install,requirements.txt)

$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	$(call install,requirements-dev.txt)

# uv takes a sixth of pip's time: it works in parallel, and does not compile modules that the
# program may never import. It does not read pip's configuration, so the index is passed on. If uv
# fails, pip installs the packages.
define install
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed. Name it, as in: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "installing the Python packages of $(1) …" >&2
	@set -e; begun=$$(date +%s); pip="$(VENV)/bin/pip --disable-pip-version-check"; \
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV); \
	test -x $(VENV)/bin/uv || $$pip install --quiet --no-compile --constraint requirements-dev.txt uv; \
	index=$${PIP_INDEX_URL:-$$($$pip config get global.index-url 2>/dev/null || true)}; \
	test -z "$$index" || export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; \
	VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install --quiet --requirement $(1) \
	|| $$pip install --quiet --requirement $(1); \
	echo "installing the Python packages of $(1): done in $$(( $$(date +%s) - begun )) s" >&2
	@touch $@
endef
