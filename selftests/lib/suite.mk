# SPDX-License-Identifier: GPL-2.0
# What the Makefiles of the suites of C programs share. A suite names its
# TEST_GEN_PROGS, includes this, and adds LDLIBS for single programs.
#
# KSFT: tools/testing/selftests of a kernel source, for lib.mk and the harness.
selftests := $(realpath $(dir $(lastword $(MAKEFILE_LIST)))/..)
KSFT ?= $(selftests)/../build/kernel/source/tools/testing/selftests

CFLAGS += -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter
CFLAGS += -Wno-sign-compare -Wno-missing-field-initializers
CFLAGS += -pthread -D_GNU_SOURCE -isystem $(KSFT)
CFLAGS += -I$(selftests)/../uapi -I$(selftests)/lib

LOCAL_HDRS += $(wildcard *.h $(selftests)/lib/*.h $(selftests)/../uapi/linux/*.h)
lib := $(addprefix $(selftests)/lib/,mf_test.c mf_swap.c)
lib_actors := $(addprefix $(selftests)/lib/,mf_actors.c)
lib_disk := $(addprefix $(selftests)/lib/,mf_disk.c)
lib_fill := $(addprefix $(selftests)/lib/,mf_fill.c)
lib_guest := $(addprefix $(selftests)/lib/,mf_guest.c)
lib_vhost := $(addprefix $(selftests)/lib/,mf_vhost.c)

include $(KSFT)/lib.mk

$(TEST_GEN_PROGS): $(lib)
