# What there is to do. `make help` lists it; every target may be run on a fresh machine.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/antenv
CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# Where cargo puts what it builds: in a folder of its own when a target is named.
BUILT := $(TARGET)$(addprefix /,$(patsubst %.json,%,$(notdir $(CARGO_BUILD_TARGET))))
RELEASE := $(BUILT)/release
EMULATOR := $(BUILT)/quick/antenv-emulator
COMMAND_LINE := $(BUILT)/command/antenv
VENV := $(TARGET)/venv
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
PYTHON := bindings/python
PYTHON_SOURCES := tests benches examples scripts $(PYTHON)
C_SOURCES := $(wildcard examples/c/*.c tests/c/*.c benches/*.c)
CPP_SOURCES := $(wildcard examples/cpp/*.cpp tests/cpp/*.cpp)
GO_MODULES := bindings/go examples/go/quickstart examples/go/stream examples/go/session benches/go tests/interop/go tests/soak/goworker
export PKG_CONFIG_PATH := $(TARGET)/prefix/lib/pkgconfig:$(PKG_CONFIG_PATH)
PEERS := benches/peers/Cargo.toml
C_WARNINGS := -Wall -Wextra -Werror -pedantic
export CARGO_TARGET_DIR := $(TARGET)

help: ## list what there is to do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

# Each has a folder and a lock of its own; at the same time, they leave no processor idle while another optimises across crates. cargo is to
# count its jobs itself.
WITHOUT_MAKE := env -u MAKEFLAGS -u MFLAGS
build: ## build the library (shared and static), its header, the command antenv and the emulator
	@scripts/need.sh cargo cc
	@echo "== building the library, the command and the emulator (release builds take a few minutes the first time)"
	@$(MAKE) --no-print-directory -j3 library command emulator

library:
	@# Not `cargo build`: with the rlib that Cargo.toml asks for too, cargo leaves link-time optimisation out.
	$(WITHOUT_MAKE) $(CARGO) rustc --release -p antenv --lib --crate-type cdylib,staticlib
	@ln -sf libantenv.so $(RELEASE)/libantenv.so.0

command:
	$(WITHOUT_MAKE) $(CARGO) build --profile command -p antenv-cli

emulator:
	@# With the whole workspace in view, here and below: else its packages are built once more with other features of theirs.
	$(WITHOUT_MAKE) $(CARGO) build --profile quick --workspace --bins

demo: build ## run examples in C and C++, and a worker, against an emulator of the API on this machine
	@scripts/need.sh cc c++ python3
	@TARGET=$(TARGET) RELEASE=$(RELEASE) EMULATOR=$(EMULATOR) COMMAND=$(COMMAND_LINE) scripts/demo.sh

# A stable compiler accepts the option when RUSTC_BOOTSTRAP is set. ThreadSanitizer has to see into the standard library: it is built, too,
# by Debian's compiler, which comes with its source. Optimised little: most of the time goes into building.
SANITIZED := rustc --profile quick -p antenv --lib --crate-type cdylib --target $(HOST) --config profile.quick.opt-level=1 \
  --config 'profile.quick.package."*".opt-level=1' --target-dir
FOR_SANITIZER := $(WITHOUT_MAKE) RUSTC_BOOTSTRAP=1
sanitized: ## build the library with AddressSanitizer and with ThreadSanitizer, for the C tests
	@echo "== building the library with AddressSanitizer, and together with the standard library with ThreadSanitizer"
	@$(MAKE) --no-print-directory -j2 address thread

address:
	$(FOR_SANITIZER) RUSTFLAGS="-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer" $(CARGO) $(SANITIZED) $(TARGET)/address
	@ln -sf libantenv.so $(TARGET)/address/$(HOST)/quick/libantenv.so.0

thread:
	@if scripts/need.sh std-source; then \
	  $(FOR_SANITIZER) RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTFLAGS=-Zsanitizer=thread \
	    /usr/bin/cargo -Zbuild-std=std,panic_unwind $(SANITIZED) $(TARGET)/thread && \
	  ln -sf libantenv.so $(TARGET)/thread/$(HOST)/quick/libantenv.so.0; \
	else rm -rf $(TARGET)/thread; echo "left out: the tests with ThreadSanitizer"; fi

# Other platforms, not optimised: by zig but for Windows, for which zig would export every symbol. For those that have wheels, the command and the
# emulator, too. A stable compiler takes warnings for errors, in our own code alone, by an unstable option.
WHEELS_ARE_FOR := $(shell sed -n 's/^    "\(.*\)": "[a-z]*linux_.*/\1/p' scripts/wheels.py)
PLATFORMS := i686-unknown-linux-gnu
CHECKED := aarch64-apple-darwin x86_64-apple-darwin
WINDOWS := x86_64-pc-windows-gnu
WITH_ZIG := $(WITHOUT_MAKE) PATH=$(VENV)/bin:$$PATH
WITH_MINGW := $(WITHOUT_MAKE) RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 \
  CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
FOR_PLATFORMS := -p antenv --lib --config profile.dev.debug=0 --config profile.dev.incremental=false \
  --config 'profile.dev.strip="symbols"' -Zwarnings --config 'build.warnings="deny"' --target-dir $(TARGET)/platforms
platforms: $(VENV)/.zig ## build the library for other platforms, and what wheels are packed from, for the tests
	@if scripts/need.sh std-source x86_64-w64-mingw32-gcc; then \
	  echo "== building the library for $(WHEELS_ARE_FOR) $(PLATFORMS) $(WINDOWS)" && \
	  $(WITH_ZIG) scripts/zig.sh build $(FOR_PLATFORMS) -p antenv-cli -p antenv-emulator --bins $(addprefix --target ,$(WHEELS_ARE_FOR)) && \
	  $(WITH_ZIG) scripts/zig.sh build $(FOR_PLATFORMS) $(addprefix --target ,$(PLATFORMS)) && \
	  for built in $(TARGET)/platforms/*/debug/libantenv.so; do ln -sf libantenv.so $$built.0; done && \
	  $(WITH_MINGW) /usr/bin/cargo build $(FOR_PLATFORMS) -Zbuild-std=std,panic_unwind --target $(WINDOWS) && \
	  echo "== checking it for $(CHECKED)" && \
	  $(WITH_ZIG) scripts/zig.sh check $(FOR_PLATFORMS) $(addprefix --target ,$(CHECKED)); \
	else rm -rf $(TARGET)/platforms; echo "left out: other platforms"; fi

$(VENV)/.zig: packaging/zig.txt $(VENV)/.stamp
	@echo "== installing zig, which builds for other platforms"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r packaging/zig.txt
	@touch $@

wheel: build venv $(TARGET)/wheel/.stamp ## build the Python package's wheel (in target/wheel), and install it for the tests
$(TARGET)/wheel/.stamp: $(RELEASE)/libantenv.so $(COMMAND_LINE) $(EMULATOR) $(wildcard $(PYTHON)/*.py $(PYTHON)/pyproject.toml $(PYTHON)/README.md $(PYTHON)/src/antenv/*.* $(PYTHON)/src/antenv/*/*.py) $(VENV)/.stamp
	@echo "== building the Python package"
	@rm -rf $(@D) && mkdir -p $(@D)
	$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w $(@D) ./$(PYTHON)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(@D)/*.whl
	@touch $@

wheels: $(VENV)/.zig ## build wheels for other Linux systems (in target/wheels): glibc from 2.17 on and musl, x86-64 and Arm (WHEELS: cargo's targets)
	@scripts/need.sh std-source
	@mkdir -p $(TARGET)/wheels
	$(WITH_ZIG) $(VENV)/bin/python scripts/wheels.py $(TARGET)/wheels $(WHEELS)

sdist: venv ## build the Python package's sdist (in target/sdist), which carries the Rust sources
	$(VENV)/bin/python -m build --sdist --outdir $(TARGET)/sdist $(PYTHON)

# How many tests run at a time. Most of them wait most of the time; those of test-deep less so.
PROCESSORS := $(shell nproc 2>/dev/null || echo 1)
JOBS ?= $(shell echo $$((3 * $(PROCESSORS))))
DEEP_JOBS ?= $(shell echo $$((2 * $(PROCESSORS))))
PYTEST := $(VENV)/bin/python -m pytest tests --dist worksteal

test: wheel prefix ## run every functional test, in every language (some minutes)
	@scripts/need.sh cc c++ clang openssl pkg-config cmake go man nlohmann abidw php php-fpm composer
	@echo "== building the Rust tests"
	$(CARGO) test --profile quick --workspace --no-run
	@# Workers once more over HTTPS with HTTP/2; from outside: C, C++, Python, Go, installation, networks.
	@$(VENV)/bin/python scripts/together.py "$(CARGO) test --profile quick --workspace" \
	  "env ANTENV_TEST_TLS=1 $(CARGO) test --profile quick --workspace --test worker" \
	  '$(PYTEST) -n $(JOBS) -m "not deep"'

older-debian: ## fetch an older Debian (into target/older-debian), in which programs of the wheels are tried
	@scripts/older-debian.sh $(TARGET)/older-debian || { rm -rf $(TARGET)/older-debian; echo "left out: the wheels in an older Debian"; }

musl-python: $(VENV)/.zig ## fetch a Python for musl (into target/musl-python), with which the wheels are tried
	@$(WITH_ZIG) scripts/musl-python.sh $(TARGET)/musl-python || { rm -rf $(TARGET)/musl-python; echo "left out: the wheels with a Python for musl"; }

test-deep: sanitized platforms older-debian musl-python wheel prefix ## run the tests that take long: valgrind, sanitizers, other platforms, wheels, official clients, further languages, mutated input, soak
	@scripts/need.sh cc c++ valgrind openssl pkg-config go node npm ruby mono mcs luajit platypus php qemu-aarch64 wine arm-libc x86-libc musl
	@{ unshare --mount true && scripts/need.sh cmake man dh lintian; } || echo "left out: the tests of the Debian packages, which take root on Debian"
	@echo "== mutated input, and tests in depth"
	@$(VENV)/bin/python scripts/together.py \
	  "env ANTENV_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),100) $(CARGO) test --profile quick --workspace --test fuzz" \
	  '$(PYTEST) -n $(DEEP_JOBS) -m deep'

# A selection of pytest's, or any other command that runs tests: COMMAND="cargo test --profile quick --test worker".
SUITE ?= tests -m "not deep"
TIMES ?= 20
COMMAND ?= $(VENV)/bin/python -m pytest -q -rfE --dist worksteal -n $(JOBS) $(SUITE)

flakes: wheel prefix ## run a suite many times with every processor busy, and list what failed how often (SUITE, TIMES, COMMAND)
	$(VENV)/bin/python scripts/flakes.py --times $(TIMES) --output $(TARGET)/flakes $(COMMAND)

bench: wheel prefix ## measure the library alongside its peers, in one run
	@scripts/need.sh cc c++ curl-config go pkg-config rg php php-curl
	$(VENV)/bin/python benches/bench.py

soak: wheel prefix ## minutes of workers in a bad world (SECONDS, ITEMS, SESSIONS, and MORE="--tls --freeze 20 --spare")
	@scripts/need.sh go php
	PYTHONPATH=tests $(VENV)/bin/python -m soak.fleet --seconds $(or $(SECONDS),120) --items $(or $(ITEMS),2000) $(MORE)
	PYTHONPATH=tests $(VENV)/bin/python -m soak.sessions --seconds $(or $(SECONDS),300) --sessions $(or $(SESSIONS),500) $(MORE)

header: ## generate include/antenv.h from src/ffi
	$(CARGO) check --profile quick -p antenv

# The table is printed by a program that is linked with it.
OPERATIONS := $(CARGO) build --profile quick --workspace --example operations && $(BUILT)/quick/examples/operations
GENERATE := $(OPERATIONS) | python3 -m scripts.generate
generate: ## write what follows from the operation table: methods, types of parameters, tables of the tests, docs/operations.md
	$(GENERATE)

notices: ## write packaging/NOTICES, the licences of the crates that are compiled in
	python3 scripts/notices.py

go-module: ## give the Go module another path, in a fork: MODULE=github.com/you/antenv/bindings/go
	@scripts/go-module.sh "$(MODULE)"

fmt: venv generate ## format everything
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path $(PEERS)
	$(VENV)/bin/ruff format -q $(PYTHON_SOURCES)
	gofmt -w $(GO_MODULES)

abi: ## re-record the binary interface after an intentional change (docs/abi-policy.md)
	@scripts/need.sh c++ abidw
	python3 scripts/abi.py record

lint: wheel prefix ## check formats, types and warnings, and that the committed header is the generated one
	@scripts/need.sh cc c++ clang go nlohmann php phpcs
	@echo "== Rust"
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile quick --workspace --all-targets -- -D warnings
	$(CARGO) fmt --manifest-path $(PEERS) --check
	$(CARGO) clippy --manifest-path $(PEERS) --target-dir $(TARGET)/peers -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --profile quick --workspace --no-deps --document-private-items
	git diff --exit-code -- include/antenv.h
	$(GENERATE) --check
	python3 scripts/notices.py --check
	@echo "== C and C++"
	@for compiler in gcc clang; do for source in $(C_SOURCES); do \
	  $$compiler -std=c11 $(C_WARNINGS) -Iinclude -fsyntax-only $$source || exit 1; done; done
	@for compiler in g++ clang++; do for source in $(CPP_SOURCES); do \
	  $$compiler -std=c++17 $(C_WARNINGS) -Iinclude -fsyntax-only $$source || exit 1; done; done
	@echo "== Go"
	@unformatted=$$(gofmt -l $(GO_MODULES)); [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted"; exit 1; }
	@for module in $(GO_MODULES); do (cd $$module && go vet ./...) || exit 1; done
	@echo "== Python"
	$(VENV)/bin/ruff check $(PYTHON_SOURCES)
	$(VENV)/bin/ruff format --check $(PYTHON_SOURCES)
	$(VENV)/bin/mypy
	@echo "== PHP"
	phpcs -n

INSTALLED := VERSION=$(VERSION) RELEASE=$(RELEASE) EMULATOR=$(EMULATOR) COMMAND=$(COMMAND_LINE)
INSTALL := $(INSTALLED) PREFIX=$(PREFIX) LIBDIR=$(LIBDIR) INCLUDEDIR=$(INCLUDEDIR) \
  BINDIR=$(BINDIR) MANDIR=$(MANDIR) DOCDIR=$(DOCDIR) DESTDIR=$(DESTDIR) scripts/install.sh

install: build ## install everything under PREFIX (DESTDIR in front, for packagers; LIBDIR, INCLUDEDIR, BINDIR, MANDIR, DOCDIR)
	@$(INSTALL) install

uninstall: ## remove what install put there
	@$(INSTALL) uninstall

deb: build ## make Debian packages (in target/deb): libantenv0, libantenv-dev, antenv-tools
	@scripts/need.sh dh
	$(INSTALLED) python3 scripts/deb.py $(TARGET)/deb

prefix: build ## install into target/prefix, where the Go tests and benches find it
	@rm -rf $(TARGET)/prefix
	@$(MAKE) --no-print-directory install PREFIX=$(TARGET)/prefix DESTDIR=

venv: $(VENV)/.stamp
$(VENV)/.stamp: tests/requirements.txt tests/python/requirements.txt
	@scripts/need.sh python3 venv
	@echo "== installing the Python packages that tests and lint use"
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

.PHONY: help build library command emulator demo sanitized address thread platforms older-debian musl-python wheel wheels sdist test test-deep flakes bench \
  soak header generate notices go-module fmt abi lint install uninstall deb prefix venv
