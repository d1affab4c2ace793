#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The QEMU that emulates hosts: build/qemu, from the backports of Debian; see debian.sh.
#
# Debian 12's own, 7.2, can translate code while another processor patches it; now and
# then a host froze of that, or jumped astray (README.md here). The VMs in the hosts run
# on the machine's own QEMU all the same: it is what users have.
#
# One function of it is taken out. Whenever a processor restores its FPU (FXRSTOR,
# XRSTOR, FLDENV), QEMU has cpu_clear_ignne() clear a bit of the *first* processor's
# hflags2, with an "and" that is not atomic. That processor keeps there whether it takes
# interrupts (GIF) and by whose page tables it goes (nested paging), and changes it at each
# VMRUN, #VMEXIT and STGI: now and then one of these changes was undone. It then never
# took an interrupt again; or took one while they were off; or its guest ran without
# nested paging, all over the host's memory. With a processor that does nothing but
# FXRSTOR, a guest of the other one ended so within a thousand runs; now it does not.
# The bit (IGNNE) is set by a write to port F0, which no kernel here ever does.
set -euo pipefail

# shellcheck source=selftests/vm/debian.sh
. "$(dirname "$(readlink -f "$0")")/debian.sh"

dest=$build/qemu
tmp=$build/qemu.tmp
suite=$codename-backports

if [ -e "$dest/mended" ]; then
	exit 0
fi

# Let cpu_clear_ignne() of this file return at once, if it is the one that is known.
mend()
{
	local code offset

	code=$(objdump -dF --disassemble=cpu_clear_ignne "$1")
	offset=$(sed -n 's/^[0-9a-f]* <cpu_clear_ignne.*(File Offset: \(0x[0-9a-f]*\)):$/\1/p' \
		<<< "$code")
	# The bit is bit 7.
	if [ -z "$offset" ] || ! grep -q 'andl .*0xffffff7f,' <<< "$code"; then
		echo "$me: this QEMU has no cpu_clear_ignne() that is known: left as it is" >&2
		return
	fi
	printf '\xc3' | dd of="$1" bs=1 seek=$((offset)) conv=notrunc status=none
}

lock_cache
apt_update
rm -rf "$tmp"
mkdir -p "$tmp"
if (fetch "qemu-system-x86/$suite" "qemu-system-data/$suite" "seabios/$suite") \
	> "$tmp/debs"; then
	echo "$me: unpacking QEMU" >&2
	while read -r deb; do
		dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$tmp" --exclude=./usr/share/doc --exclude=./usr/share/man
	done < "$tmp/debs"
fi
# It finds its libraries where the machine's own does: all of what it needs?
if ! LD_BIND_NOW=1 "$tmp/usr/bin/qemu-system-x86_64" -version > /dev/null 2>&1; then
	echo "$me: no QEMU in $suite that works here: hosts are emulated by the machine's own" >&2
	rm -rf "$tmp"
	mkdir "$tmp"
else
	mend "$tmp/usr/bin/qemu-system-x86_64"
fi
touch "$tmp/mended"
rm -rf "$dest"
mv "$tmp" "$dest"
