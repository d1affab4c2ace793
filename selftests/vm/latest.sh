#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The newest kernel of Debian's unstable suite, and its own compiler: this machine's is too
# old for it, so that modules are built in a small system of that suite, in the cache folder.
#
# usage: latest.sh image	-> build/kernel/latest: image, modules, headers
#        latest.sh make ARG...	make in its headers, with its compiler
set -euo pipefail

# shellcheck source=selftests/vm/debian.sh
. "$(dirname "$(readlink -f "$0")")/debian.sh"

apt=$cache/apt-sid
root=$cache/sid
dest=$build/kernel/latest
# Beside the compiler.
programs=make,kmod,pahole,libc6-dev,libelf1t64

# The same mirror.
sources_list_sid()
{
	sources_list | sed -n "s/ $codename main\$/ sid main/p"
}

sid_update()
{
	mkdir -p "$apt/lists/partial"
	sources_list_sid > "$apt/sources.list"
	[ -s "$apt/sources.list" ] || die "no Debian repository in this machine's apt configuration"
	echo "$me: reading package lists" >&2
	private_apt apt-get update >&2
}

newest_release()
{
	private_apt apt-cache pkgnames linux-image- |
	sed -n 's/^linux-image-\([0-9].*-amd64\)$/\1/p' |
	grep -vE -- '-(rt|cloud|dbg|unsigned)-' |
	sort -V | tail -1
}

# Its programs come from the machine's own mirror, through whatever apt goes through.
make_root()
{
	local compiler=$1 mirror
	mirror=$(sed -n '1s/.* \([^ ]*\) sid main$/\1/p' "$apt/sources.list")

	[ ! -e "$root/made" ] || return 0
	echo "$me: making a system of sid with $compiler in $root" >&2
	rm -rf "$root"
	debootstrap --variant=minbase --include="$compiler,$programs" sid "$root" "$mirror" \
		> "$cache/sid.log" 2>&1 || die "debootstrap has failed: see $cache/sid.log"
	touch "$root/made"
}

unpack_image()
{
	local release common tmp=$dest.tmp package

	[ ! -e "$dest/release" ] || return 0
	lock_cache
	sid_update
	release=$(newest_release)
	[ -n "$release" ] || die "no kernel in sid"
	common=$(depends_of "linux-headers-$release" 'linux-headers-.*-common')
	make_root "$(depends_of "linux-headers-$release" 'gcc-.*-for-host' | sed 's/-for-host//')"
	rm -rf "$tmp" "$dest"
	mkdir -p "$tmp"
	for package in base binary modules headers; do
		fetch "linux-$package-$release"
	done > "$tmp/debs"
	fetch "$common" "$(depends_of "linux-headers-$release" 'linux-kbuild-.*')" >> "$tmp/debs"
	echo "$me: unpacking Linux $release" >&2
	unpack_kernel "$tmp" < "$tmp/debs"

	# The package's headers expect to live in /usr/src.
	sed -i "s,/usr/src,$dest/usr/src,g" "$tmp/usr/src/linux-headers-$release/Makefile"
	mkdir "$tmp/lib"
	mv "$tmp/usr/lib/modules" "$tmp/lib/modules"
	ln -sfn "$dest/usr/src/linux-headers-$release" "$tmp/lib/modules/$release/build"
	ln -sfn "$dest/usr/src/$common" "$tmp/lib/modules/$release/source"
	ln -s "lib/modules/$release/build" "$tmp/headers"
	ln -s "lib/modules/$release" "$tmp/modules"
	ln -s "lib/modules/$release/config" "$tmp/config"
	depmod -b "$tmp" "$release" 2>/dev/null
	python3 "$here/vmlinux.py" "$tmp/lib/modules/$release/vmlinuz" "$tmp/vmlinux"
	echo "$release" > "$tmp/release"
	mv "$tmp" "$dest"
}

# The checkout is there under its own path.
make_there()
{
	local top
	top=$(dirname "$build")

	[ -e "$root/made" ] || die "$root is not there: run latest.sh image"
	mkdir -p "$root$top"
	# shellcheck disable=SC2016 # of the shell inside
	unshare -m sh -c '
		root=$1 top=$2 headers=$3
		shift 3
		mount --rbind "$top" "$root$top" && mount -t proc proc "$root/proc" &&
		exec chroot "$root" make -C "$headers" "$@"' \
		sh "$root" "$top" "$dest/headers" "$@"
}

case ${1:-} in
image)	unpack_image ;;
make)	shift; make_there "$@" ;;
*)	die "usage: latest.sh image | make ARG..." ;;
esac
