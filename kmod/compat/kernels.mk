# SPDX-License-Identifier: GPL-2.0
#
# Which kernels this is for: those that the tests run on. Between them the memory
# management differs in ways that no compiler notices (what counts as a mapping, who may
# collapse one), so that others are refused, by one line, and not guessed.
mf-kernels := 6.1 6.12 7.2
mf-kernel := $(VERSION).$(PATCHLEVEL)

# KVM's log has to be switched on from outside the VMM, which later ones do not allow
# (__kvm_set_memory_region is not exported any more): there events do alone.
mf-kvm := $(filter 6.1 6.12,$(mf-kernel))

ifeq ($(filter $(mf-kernel),$(mf-kernels))$(MF_UNTESTED_KERNEL),)
mf-changed := $(shell $(mf-src)/kmod/compat/interfaces.sh $(srctree))
mf-changed := $(or $(mf-changed),no interface that it uses looks changed. It has not been \
tested there; MF_UNTESTED_KERNEL=1 builds it all the same)
$(error migrate_fast is for Linux $(mf-kernels), not $(mf-kernel): $(mf-changed))
endif
