#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Download Debian kernel packages and unpack them under build/; see debian.sh.
#
# usage: kernel.sh image  KERNEL	-> build/kernel/KERNEL: image, modules, headers
#        kernel.sh source KERNEL	-> build/kernel/source: kselftest, checkpatch
#        kernel.sh tree   KERNEL FOLDER	-> FOLDER: what can be compiled of it (disk.py)
set -euo pipefail

# shellcheck source=selftests/vm/debian.sh
. "$(dirname "$(readlink -f "$0")")/debian.sh"

# Newest image package of a series: linux-image-6.1.0-56-amd64 and the like.
newest_image()
{
	private_apt apt-cache pkgnames "linux-image-$1" |
	grep -E "^linux-image-${1//./\\.}[.+][.0-9+a-z-]*-amd64\$" |
	grep -vE -- '-(rt|cloud|dbg|unsigned)-|-unsigned$' |
	sort -V | tail -1
}

depends_of()
{
	private_apt apt-cache depends "$1" | sed -n "s/^ *Depends: \\($2\\)\$/\\1/p"
}

unpack_image()
{
	local kernel=$1 dest=$build/kernel/$1 tmp=$build/kernel/$1.tmp
	local image release headers common deb

	[ ! -e "$dest/release" ] || return 0
	lock_cache
	apt_update
	image=$(newest_image "$kernel")
	[ -n "$image" ] || die "no image package of Linux $kernel"
	release=${image#linux-image-}
	headers=linux-headers-$release
	common=$(depends_of "$headers" 'linux-headers-.*-common')

	rm -rf "$tmp" "$dest"
	mkdir -p "$tmp"
	fetch "$image" "$headers" "$common" "$(depends_of "$headers" 'linux-kbuild-.*')" \
		> "$tmp/debs"
	echo "kernel.sh: unpacking Linux $release" >&2
	while read -r deb; do
		dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$tmp" --exclude=./usr/share --exclude='./boot/System.map*' \
			--exclude='*/drivers/gpu' --exclude='*/drivers/media' \
			--exclude='*/sound' --exclude='*/drivers/infiniband'
	done < "$tmp/debs"

	# The package's headers expect to live in /usr/src.
	sed -i "s,^include /usr,include $dest/usr," "$tmp/usr/src/$headers/Makefile"
	ln -sfn "$dest/usr/src/$headers" "$tmp/lib/modules/$release/build"
	ln -sfn "$dest/usr/src/$common" "$tmp/lib/modules/$release/source"
	ln -s "lib/modules/$release/build" "$tmp/headers"
	ln -s "lib/modules/$release" "$tmp/modules"
	ln -s "boot/config-$release" "$tmp/config"
	depmod -b "$tmp" "$release" 2>/dev/null
	python3 "$here/vmlinux.py" "$tmp/boot/vmlinuz-$release" "$tmp/vmlinux"
	echo "$release" > "$tmp/release"
	mv "$tmp" "$dest"
}

# Some files of a kernel's sources, into a folder.
unpack_parts()
{
	local name=linux-source-$1 dest=$2 deb
	shift 2

	lock_cache
	[ -s "$cache/apt/sources.list" ] || apt_update
	mkdir -p "$dest"
	deb=$(fetch "$name")
	echo "kernel.sh: unpacking parts of $name" >&2
	dpkg-deb --fsys-tarfile "$deb" |
	tar -xO "./usr/src/$name.tar.xz" |
	xz -dc -T0 |
	tar -x -C "$dest" --strip-components=1 --wildcards --no-wildcards-match-slash \
		"${@/#/$name/}"
}

unpack_source()
{
	local dest=$build/kernel/source tmp=$build/kernel/source.tmp

	[ ! -e "$dest" ] || return 0
	lock_cache
	rm -rf "$tmp"
	unpack_parts "$1" "$tmp" scripts/checkpatch.pl scripts/spelling.txt \
		scripts/const_structs.checkpatch tools/testing/selftests/lib.mk \
		'tools/testing/selftests/kselftest*'
	mv "$tmp" "$dest"
}

case ${1:-} in
image)	unpack_image "${2:?kernel}" ;;
source)	unpack_source "${2:?kernel}" ;;
tree)	unpack_parts "${2:?kernel}" "${3:?folder}" include arch/x86 block init ipc kernel lib mm ;;
*)	die "usage: kernel.sh image|source|tree KERNEL" ;;
esac
