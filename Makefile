# Everything runs in .venv against the installed package, never against the checkout.

PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
KERAS_ANSWERS ?= $(PEERS_VENV)-tf/answers
KERAS_VECTORS ?= $(PEERS_VENV)-tf/vectors
ZOO_VENV ?= .venv-zoo
ZOO_EXPORTS ?= $(ZOO_VENV)/exports
COUNT ?= 50000
SEED ?= 0
KINDS ?= all
KEEP ?=
SECONDS ?= 300

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Keeps the checkout off sys.path, in `python -m ...` and in the subprocesses of tests too.
export PYTHONSAFEPATH = 1

SOURCES := $(shell find reflrp converters conformance \( -name __pycache__ -o -path conformance/reports \) -prune -o -print 2>/dev/null)
# A build folder left over would carry files since deleted into the package.
INSTALL = rm -rf build && $(@D)/bin/pip install --quiet $(1) && rm -rf build reflrp.egg-info && touch $@

.NOTPARALLEL:
.PHONY: help demo test fuzz fuzz-ci differential lint lint-check lint-format lint-types format peers peers-tf zoo zoo-compiled web cpp bench bench-bert study scaling clean vectors spec conform verdicts verdicts-tf

help:  ## Show this list
	@awk -F':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.demo $(VENV)/.package  ## Explain a few shipped digits and say where the picture is
	$(VENV)/bin/reflrp demo

test: $(VENV)/.dev $(VENV)/.package  ## Run the tests
	$(VENV)/bin/pytest -n 2

fuzz: $(VENV)/.dev $(VENV)/.package differential  ## Random graphs, then COUNT=50000 hostile cases of KINDS=bytes,saved,..., faults into KEEP=folder
	PYTHONPATH=tests $(VENV)/bin/python -m fuzz --count $(COUNT) --seed $(SEED) --kinds $(KINDS) $(if $(KEEP),--keep $(KEEP))

# Cases that are always the same ones, so that continuous integration fails for what changed and not for where it runs.
fuzz-ci: $(VENV)/.dev $(VENV)/.package  ## The first 1,500 random graphs and 40,000 hostile cases
	PYTHONPATH=tests $(VENV)/bin/python -m differential --count 1500 --seed $(SEED)
	PYTHONPATH=tests $(VENV)/bin/python -m fuzz --count 40000 --seed $(SEED)

differential: $(VENV)/.dev $(VENV)/.package  ## Try random graphs for SECONDS=300 from SEED=0: forward and relevance, each in two ways
	PYTHONPATH=tests $(VENV)/bin/python -m differential --seconds $(SECONDS) --seed $(SEED)

lint: lint-check lint-format lint-types  ## Run ruff and mypy

lint-check: $(VENV)/.dev  ## Run ruff's rules alone
	$(VENV)/bin/ruff check .

lint-format: $(VENV)/.dev  ## See that ruff would format nothing otherwise
	$(VENV)/bin/ruff format --check .

# mypy looks into the working directory first, and there reflrp.converters would be missing.
lint-types: $(VENV)/.dev $(VENV)/.package  ## Run mypy alone
	cd $(VENV) && bin/mypy --config-file "$(CURDIR)/pyproject.toml" -p reflrp

format: $(VENV)/.dev  ## Let ruff repair what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

peers: $(PEERS_VENV)/.peers $(PEERS_VENV)/.crp $(PEERS_VENV)/.package  ## Compare with zennit, captum, LXT, pnpxai, lczerolens, zennit-crp
	$(PEERS_VENV)/bin/pytest tests/peers tests/zoo $(addprefix --ignore tests/peers/,test_keras.py test_julia.py test_checkouts_by_hand.py)

# iNNvestigate and SignXAI want a NumPy that reflrp does not; so they answer in an environment of their own, and the tests
# read what they wrote. ALL=1 asks for every case on every network (three times as many).
peers-tf: $(PEERS_VENV)/.peers $(PEERS_VENV)/.package $(PEERS_VENV)-tf/.peers-tf  ## Compare with iNNvestigate, SignXAI (installs TensorFlow)
	$(PEERS_VENV)-tf/bin/python tests/peers/keras_peers/answer.py $(KERAS_ANSWERS)
	KERAS_ANSWERS=$(abspath $(KERAS_ANSWERS)) $(PEERS_VENV)/bin/pytest tests/peers/test_keras.py

# Exports are kept, and made again where the script that they come from has changed.
zoo: $(ZOO_VENV)/.zoo $(ZOO_VENV)/.package $(ZOO_VENV)-keras/.zoo-keras  ## Export many architectures, explain each, write docs/coverage.md
	PYTHONPATH=tests $(ZOO_VENV)/bin/python -m zoo.export $(ZOO_EXPORTS)
	PYTHONPATH=tests $(ZOO_VENV)/bin/python -m zoo.export $(ZOO_EXPORTS) --framework sklearn
	PYTHONPATH=tests $(ZOO_VENV)-keras/bin/python -m zoo.export $(ZOO_EXPORTS) --framework keras
	PYTHONPATH=tests $(ZOO_VENV)/bin/python -m zoo.run $(ZOO_EXPORTS) --table docs/coverage.md --json $(ZOO_EXPORTS)/results.json

# What was compared stays in the folder of the exports, so that a run that was stopped goes on.
zoo-compiled: $(ZOO_VENV)/.zoo $(ZOO_VENV)/.package  ## Compile the exports that `make zoo` left, compare each with the engine, write docs/compiled.md
	PYTHONPATH=tests $(ZOO_VENV)/bin/python -m zoo.compiled $(ZOO_EXPORTS) --table docs/compiled.md

# Needs node and Chromium (CHROMIUM=/path, else Debian's).
web: $(VENV)/.dev $(VENV)/.package  ## Run compiled models in onnxruntime-web, in node and in headless Chromium
	PYTHONPATH=tests $(VENV)/bin/python tests/web/write.py $(VENV)/web
	cd tests/web && npm install --no-audit --no-fund --no-package-lock --silent
	cd tests/web && REFLRP_WEB="$(abspath $(VENV))/web" npm test --silent

# Needs a C++ compiler (CXX=g++) and onnxruntime's headers (ONNXRUNTIME_INCLUDE=/folder), which its wheels do not have.
ONNXRUNTIME_INCLUDE ?= /usr/include/onnxruntime
cpp: $(VENV)/.dev $(VENV)/.package  ## Compile the C++ lines of docs/compile.md, run them, compare with explain
	ONNXRUNTIME_INCLUDE=$(abspath $(ONNXRUNTIME_INCLUDE)) $(VENV)/bin/pytest tests/test_cpp.py

# The networks are written once; they take 1.3 GB.
bench: $(PEERS_VENV)/.peers $(PEERS_VENV)/.package  ## Measure time and memory beside zennit (VGG-16, ResNet-50)
	test -e $(PEERS_VENV)/nets/vgg16.onnx || $(PEERS_VENV)/bin/python benchmarks/nets.py $(PEERS_VENV)/nets
	$(PEERS_VENV)/bin/python benchmarks/bench_zennit.py $(PEERS_VENV)/nets
	$(PEERS_VENV)/bin/python benchmarks/bench_zennit.py $(PEERS_VENV)/nets --memory

bench-bert: $(ZOO_VENV)/.zoo $(ZOO_VENV)/.package  ## Measure AttnLRP on a BERT-base shape beside onnxruntime's forward pass
	PYTHONPATH=tests $(ZOO_VENV)/bin/python benchmarks/bench_bert.py $(ZOO_VENV)/nets

study: $(ZOO_VENV)/.zoo $(ZOO_VENV)/.package  ## Train small networks of many kinds and measure which rules are faithful on them
	$(ZOO_VENV)/bin/python -W ignore benchmarks/study_rules.py $(ZOO_VENV)/study

scaling: $(VENV)/.dev $(VENV)/.package  ## Print how time grows with the number of nodes
	$(VENV)/bin/python benchmarks/bench_import.py

# Both are the same bytes wherever they are made; the tests compare them.
vectors: $(VENV)/.dev $(VENV)/.package  ## Write the conformance vectors anew (conformance/vectors/v1), then the specification
	$(VENV)/bin/python -m reflrp.conformance.generate conformance/vectors/v1
	rm -f $(VENV)/.package && $(MAKE) spec

spec: $(VENV)/.dev $(VENV)/.package  ## Write docs/spec.md from the clauses, the vectors and the code
	$(VENV)/bin/python -m reflrp.conformance.page docs/spec.md

conform: $(VENV)/.dev $(VENV)/.package  ## Hold reflrp against the conformance vectors
	$(VENV)/bin/reflrp conformance run --adapter reflrp.conformance.adapters.reflrp:Adapter

# What is no package is run from a checkout, where a variable names one: LRP_TOOLBOX, LRP_FOR_LSTM. RELEVANCE_PROPAGATION_JL has
# the relevance that its transcription is held against. Other reports stay as they are.
verdicts: $(PEERS_VENV)/.peers $(PEERS_VENV)/.package  ## Hold other libraries and our dialects against the vectors, write reports and docs/verdicts.md
	$(if $(RELEVANCE_PROPAGATION_JL),$(PEERS_VENV)/bin/pytest tests/peers/test_julia.py)
	$(if $(LRP_TOOLBOX),$(if $(LRP_FOR_LSTM),$(PEERS_VENV)/bin/pytest tests/peers/test_checkouts_by_hand.py))
	OMP_NUM_THREADS=1 $(PEERS_VENV)/bin/python -m reflrp.conformance.libraries conformance/reports
	OMP_NUM_THREADS=1 $(PEERS_VENV)/bin/python -m reflrp.conformance.dialects conformance/reports
	$(PEERS_VENV)/bin/python -m reflrp.conformance.verdict_page docs/verdicts.md conformance/reports

# They answer where reflrp is not, as in `make peers-tf`, each in a process of its own; what they wrote is judged.
verdicts-tf: $(PEERS_VENV)/.peers $(PEERS_VENV)/.package $(PEERS_VENV)-tf/.peers-tf  ## The same for iNNvestigate and SignXAI (installs TensorFlow)
	PYTHONPATH=conformance/adapters $(PEERS_VENV)-tf/bin/python -m keras_answers innvestigate conformance/vectors/v1 $(KERAS_VECTORS)/innvestigate
	PYTHONPATH=conformance/adapters $(PEERS_VENV)-tf/bin/python -m keras_answers signxai conformance/vectors/v1 $(KERAS_VECTORS)/signxai
	OMP_NUM_THREADS=1 $(PEERS_VENV)/bin/python -m reflrp.conformance.libraries conformance/reports $(KERAS_VECTORS)/innvestigate $(KERAS_VECTORS)/signxai
	OMP_NUM_THREADS=1 $(PEERS_VENV)/bin/python -m reflrp.conformance.dialects conformance/reports
	$(PEERS_VENV)/bin/python -m reflrp.conformance.verdict_page docs/verdicts.md conformance/reports

clean:  ## Remove the virtual environments and all that was built
	rm -rf $(VENV) $(PEERS_VENV) $(PEERS_VENV)-tf $(ZOO_VENV) $(ZOO_VENV)-keras build dist reflrp.egg-info

%/bin/python:
	$(PYTHON) -m venv $*
	$@ -m pip install --quiet --upgrade pip "setuptools>=77"

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(call INSTALL,".[plot]")

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(call INSTALL,".[dev]")

# One pip command, so that torch's version is settled together with those who need it. Of LXT, pnpxai and lczerolens only the rules
# are read, so what the rest of them needs is left out.
$(PEERS_VENV)/.peers: pyproject.toml | $(PEERS_VENV)/bin/python
	$(call INSTALL,".[peers]")
	$(@D)/bin/pip install --quiet --no-deps lxt==2.1 pnpxai==0.1.4 lczerolens==0.3.3

# Both versions of which docs/bugs has a page, each in a folder of its own. They ask for an older zennit, and run with this one.
CRP = 0.4.2 0.6.0
$(PEERS_VENV)/.crp: Makefile | $(PEERS_VENV)/.peers
	$(foreach v,$(CRP),rm -rf $(@D)/crp-$(v) && $(@D)/bin/pip install --quiet --no-deps --target $(@D)/crp-$(v) zennit-crp==$(v) &&) touch $@

# They name versions of their dependencies that do not go together; what they import is this.
$(PEERS_VENV)-tf/.peers-tf: tests/peers/keras_peers/requirements.txt | $(PEERS_VENV)-tf/bin/python
	$(@D)/bin/pip install --quiet -r tests/peers/keras_peers/requirements.txt
	$(@D)/bin/pip install --quiet --no-deps innvestigate==2.1.2 tf2onnx==1.16.1
	$(@D)/bin/pip install --quiet --no-deps --ignore-requires-python signxai2==0.14.1
	touch $@

$(ZOO_VENV)/.zoo: pyproject.toml | $(ZOO_VENV)/bin/python
	$(call INSTALL,".[zoo]")

$(ZOO_VENV)-keras/.zoo-keras: pyproject.toml | $(ZOO_VENV)-keras/bin/python
	$(call INSTALL,".[zoo-keras]")

$(VENV)/.package: | $(VENV)/bin/python
$(PEERS_VENV)/.package: | $(PEERS_VENV)/bin/python
$(ZOO_VENV)/.package: | $(ZOO_VENV)/bin/python
$(VENV)/.package $(PEERS_VENV)/.package $(ZOO_VENV)/.package: pyproject.toml $(SOURCES)
	$(call INSTALL,--no-deps --no-build-isolation .)
