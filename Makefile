# SPDX-License-Identifier: GPL-2.0
#
# migrate-fast: see "make help".

KERNEL	 ?= 6.1
# The kernels that check-kernels and check-all run on; bench knows limits for two of them.
ifeq ($(origin KERNELS),undefined)
KERNELS	 := 6.1 6.12 latest
bench: KERNELS := 6.1 6.12
endif
VERSION	 := 0.1.0
PREFIX	 ?= /usr/local
PYTHON	 ?= python3

top	 := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
build	 := $(top)/build
vm	 := $(top)/selftests/vm
KDIR	 ?= $(build)/kernel/$(KERNEL)/headers
# The newest kernel wants a compiler of its own, and may be one that nobody has tried.
kmake	 := $(if $(filter latest,$(KERNEL)),$(vm)/latest.sh make MF_UNTESTED_KERNEL=1, \
		$(MAKE) -C "$(KDIR)")
kmod	 := $(build)/kmod-$(KERNEL)

# What fails is seen better without what does not: V=1 shows the commands.
quiet	 := $(if $(V),,-s) --no-print-directory
MAKEFLAGS += --no-print-directory

export KERNEL KERNELS PREFIX DESTDIR V

all: module tools selftests	## build the module (for KERNEL), tools and selftests

setup:				## install and download what is missing
	@$(vm)/setup $(KERNEL)

# kbuild of 6.1 cannot build outside the source folder (MO= came later), and several
# kernels are built from one source: each gets a copy that holds links.
module: setup			## build migrate_fast.ko into build/kmod-KERNEL
	@$(top)/selftests/kmod.sh stage "$(kmod)"
	@$(kmake) -j"$$(nproc)" M="$(kmod)" $(if $(W),W=$(W)) $(if $(C),C=$(C)) modules

tools: setup			## build the tools into build/tools
	@if [ -e tools/Makefile ]; then $(MAKE) $(quiet) -j"$$(nproc)" -C tools O="$(build)/tools"; fi

selftests: setup		## build test and benchmark programs into build
	@$(MAKE) $(quiet) -C selftests OUTPUT="$(build)/selftests"
	@$(MAKE) $(quiet) -C tools/bench OUTPUT="$(build)/bench"

check: all			## run the tests once: TESTS="ram migrate/full" KERNEL=6.12
	@$(PYTHON) selftests/run $(TESTS)

check-all: every		## random tests often, on every kernel (hours)
	@$(PYTHON) selftests/run --all $(TESTS)

check-sources: all		## migrations, with each source of writes
	@for source in events kvm; do \
		MF_SOURCE=$$source $(PYTHON) selftests/run $(or $(TESTS),migrate) || exit; done

# All suites that ask the module itself, and whole migrations, whatever their speed.
debug	 := debug ram track fill hash send session async numa kill migrate/full
check-debug:			## the same with a kernel that looks for faults, built here
	@$(MAKE) --no-print-directory all KERNEL=debug
	@KERNEL=debug $(PYTHON) selftests/run $(or $(TESTS),$(debug))

check-kernels: every		## the same on every kernel, and a table
	@$(PYTHON) selftests/kernels $(TESTS)

demo: all			## move a working guest between two emulated hosts
	@$(PYTHON) selftests/demo/demo.py

bench: every			## measure: BENCH="harvest send"
	@$(PYTHON) tools/bench/run $(BENCH)

# What check-all and bench run on, one kernel after the other.
every:
	@for kernel in $(KERNELS); do $(MAKE) --no-print-directory all KERNEL=$$kernel || exit; done

lint: setup module		## checkpatch, sparse, shellcheck: no findings
	@selftests/lint

# On a host that runs VMs: nothing that only tests need.
install:			## build and install tools and man pages under PREFIX
	@$(vm)/setup --tool
	@$(MAKE) $(quiet) -C tools install O="$(build)/tools"

dkms:				## install the module for the running kernel (DKMS)
	@$(top)/selftests/kmod.sh dkms $(VERSION)

clean:				## remove all that was built; keeps downloads
	rm -rf "$(build)"

help:
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1	/p' $(firstword $(MAKEFILE_LIST)) | \
		expand -t 23

.PHONY: all every setup module tools selftests check check-all check-sources check-debug \
	check-kernels demo bench lint install dkms clean help
