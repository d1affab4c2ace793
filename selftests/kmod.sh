#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The module's source, where kbuild and DKMS want it.
#
# usage: kmod.sh stage FOLDER	links to the source, to build for one kernel
#        kmod.sh dkms VERSION	a copy in /usr/src, built for the running kernel
#				(or for KVER, for which there must be headers)
set -eu

top=$(dirname "$(dirname "$(readlink -f "$0")")")

case ${1:-} in
stage)
	dest=$2
	mkdir -p "$dest"
	ln -sfn "$top/Kbuild" "$dest/Kbuild"
	ln -sfn "$top/uapi" "$dest/uapi"
	# Objects land next to the sources: real folders, linked files.
	(cd "$top" && find kmod -type d) | (cd "$dest" && xargs mkdir -p)
	find "$dest/kmod" -type l ! -exec test -e {} \; -delete
	(cd "$top" && find kmod -name '*.[ch]' -o -name '*.mk' -o -name 'interfaces*') |
	while read -r file; do
		[ -L "$dest/$file" ] || ln -s "$top/$file" "$dest/$file"
	done
	;;
dkms)
	version=$2
	kernel=${KVER:-$(uname -r)}
	dest=/usr/src/migrate-fast-$version
	command -v dkms >/dev/null || {
		apt-get -qq update
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
			--no-install-recommends dkms
	}
	[ -e "/lib/modules/$kernel/build" ] || {
		apt-get -qq update
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
			--no-install-recommends "linux-headers-$kernel"
	}
	dkms remove -m migrate-fast -v "$version" --all >/dev/null 2>&1 || true
	rm -rf "$dest"
	mkdir -p "$dest"
	cp -r "$top/Kbuild" "$top/kmod" "$top/uapi" "$top/dkms.conf" "$dest"
	dkms install -m migrate-fast -v "$version" -k "$kernel"
	;;
*)
	echo "usage: kmod.sh stage FOLDER | dkms VERSION" >&2
	exit 2
	;;
esac
