# SPDX-License-Identifier: Apache-2.0
# The few commands of a checkout; Meson does the building. `make help` lists them.

BUILD := build
CI ?= false
comma := ,
# Suites that every run of `make check` runs; tests that need root only where it is there.
SUITES := unit,golden,guest,cage,fault,host,disk,kill$(if $(filter 0,$(shell id -u)),$(comma)root$(comma)torque)
LISTS := build run
SANITIZED := -Db_sanitize=address,undefined -Db_lundef=false

# In CI both compilers build everything with warnings as errors, each in a tree of its own.
STRICT := $(if $(filter true,$(CI)),build-gcc build-clang)

.PHONY: all run check bench packages guest image format clean help
.NOTPARALLEL:
# Silent when there is nothing to do, so that `make run` shows the job and nothing else.
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) -n | grep -q 'no work to do' || ninja -C $(BUILD)

## make          build; the programs are in build/bin and run in place
## make run      install what is missing, build, run examples/hello.sh in a virtual machine
run: guest
	@$(BUILD)/bin/vsub --local examples/hello.sh

## make check    run all tests; the last line is `N passed, N failed`
check: LISTS := build run test $(if $(STRICT),ci)
check: image build-asan/build.ninja $(STRICT:=/build.ninja)
	@tools/run-tests $(BUILD):$(SUITES) build-asan:unit,fuzz,guest --beside $(addprefix compile:,build-asan $(STRICT))

## make bench    measure: ratios of one run, kept as JSON
bench: LISTS := build run bench
bench: guest
	@bench/run
	@if [ $$(id -u) = 0 ]; then bench/torque; bench/nodes; fi

## make format   lay out all C sources by .clang-format
format:
	@find src tests bench -name '*.[ch]' -exec clang-format -i {} +

## make clean    remove all build trees
clean:
	@rm -rf $(BUILD) build-asan build-gcc build-clang

help:
	@sed -n 's/^## //p' Makefile

packages:
	@tools/install-packages $(LISTS)

## make guest    the guest's kernel and initramfs, in the user's cache: what run and check begin with
guest: packages all
	@tools/guest-kernel --agent $(BUILD)/bin/vtorque-agent

## make image    the demo image, Debian 12, in the user's cache: what check begins with; minutes, once
image: LISTS += image
image: guest
	@tools/guest-image --agent $(BUILD)/bin/vtorque-agent

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: tools/install-packages build"; exit 1; }
	@meson setup $(BUILD)

build-asan/build.ninja:
	@meson setup build-asan $(SANITIZED)

build-gcc/build.ninja:
	@CC=gcc meson setup build-gcc --werror

build-clang/build.ninja:
	@CC=clang meson setup build-clang --werror
