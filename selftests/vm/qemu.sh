#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The QEMU that emulates hosts: build/qemu, from the backports of Debian; see debian.sh.
#
# Debian 12's own, 7.2, can translate code while another processor patches it; now and
# then a host froze of that, or jumped astray (README.md here). The VMs in the hosts run
# on the machine's own QEMU all the same: it is what users have.
set -euo pipefail

# shellcheck source=selftests/vm/debian.sh
. "$(dirname "$(readlink -f "$0")")/debian.sh"

dest=$build/qemu
tmp=$build/qemu.tmp
suite=$codename-backports

if [ -e "$dest" ]; then
	exit 0
fi
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
fi
mv "$tmp" "$dest"
