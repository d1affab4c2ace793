#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Download Debian kernel packages and unpack them under build/; see debian.sh.
#
# usage: kernel.sh image  KERNEL	-> build/kernel/KERNEL: image, modules, headers
#        kernel.sh debug		-> build/kernel/debug: likewise, of one that is
#					   built here, in the cache folder
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

unpack_image()
{
	local kernel=$1 dest=$build/kernel/$1 tmp=$build/kernel/$1.tmp
	local image release headers common

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
	unpack_kernel "$tmp" < "$tmp/debs"

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
	[ -s "$apt/sources.list" ] || apt_update
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

# A driver's registers, that nobody here needs, are a quarter of it.
unpack_debug_source()
{
	local dest=$1 deb=$2 name=linux-source-6.1

	[ ! -e "$dest/Makefile" ] || return 0
	echo "kernel.sh: unpacking $name" >&2
	mkdir -p "$dest.tmp"
	dpkg-deb --fsys-tarfile "$deb" |
	tar -xO "./usr/src/$name.tar.xz" |
	xz -dc -T0 |
	tar -x -C "$dest.tmp" --strip-components=1 \
		--exclude="$name/drivers/gpu/drm/amd/include/asic_reg"
	mend_debug_source "$dest.tmp"
	mv "$dest.tmp" "$dest"
}

# Linux 6.1 with PROVE_RCU waits forever at boot now and then, where it tries RCU-tasks:
# their thread, if it comes first, awaits its first callback with a mutex held that whoever
# boots takes. Later kernels release it meanwhile, and so does this one.
mend_debug_source()
{
	local file=$1/kernel/rcu/tasks.h
	local it='/^static void rcu_tasks_one_gp(/,/^}/'
	local lock='mutex_lock(\&rtp->tasks_gp_mutex);' release='mutex_unlock(\&rtp->tasks_gp_mutex);'

	[ "$(sed -n "$it p" "$file" | grep -c 'mutex_unlock(')" = 1 ] || return 0
	sed -i "$it {
		s/^\t\tset_tasks_gp_state(rtp, RTGS_WAIT_CBS);$/\t\t$release\n&/
		s/^\t*   TASK_IDLE);$/&\n\t\t$lock/
	}" "$file"
	[ "$(sed -n "$it p" "$file" | grep -c 'mutex_\(un\)\?lock(')" = 4 ] ||
		die "$file is not as it is known"
}

# allnoconfig leaves out what something else does not allow: say so. So does what a suite
# asks for and debug.config does not name.
configure_debug()
{
	local missing

	make -s -C "$1" O="$2" KCONFIG_ALLCONFIG="$here/debug.config" allnoconfig >&2
	missing=$(grep '^CONFIG_.*=[ym]' "$here/debug.config" | sort |
		  comm -23 - <(sort "$2/.config"))
	[ -z "$missing" ] || die "debug.config is not kept: $(echo "$missing" | xargs)"
	missing=$(sed -n 's/=[ym]$//p' "$here"/../*/config | sort -u |
		  comm -23 - <(sed -n 's/=[ym]$//p' "$2/.config" | sort))
	[ -z "$missing" ] || die "debug.config lacks what suites need: $(echo "$missing" | xargs)"
}

# Built where it stays: a build knows its own path. What was interrupted goes on.
build_debug()
{
	local dest=$build/kernel/debug deb key kept release

	[ ! -e "$dest/release" ] || return 0
	lock_cache
	[ -s "$apt/sources.list" ] || apt_update
	deb=$(fetch linux-source-6.1)
	key=$({ basename "$deb"; cat "$here/debug.config"; declare -f mend_debug_source; } |
	      sha256sum | cut -c 1-16)
	kept=$cache/debug-$key
	if [ ! -e "$kept/release" ]; then
		mkdir -p "$kept"
		unpack_debug_source "$kept/source" "$deb"
		configure_debug "$kept/source" "$kept/build"
		release=$(make -s -C "$kept/source" O="$kept/build" kernelrelease)
		echo "kernel.sh: building Linux $release, which takes half an hour" >&2
		make -s -j"$(nproc)" -C "$kept/source" O="$kept/build" bzImage modules >&2
		make -s -C "$kept/source" O="$kept/build" INSTALL_MOD_PATH="$kept" \
			modules_install >&2
		# Not by its PVH note: what comes before KASAN has a shadow would need it.
		cp "$kept/build/arch/x86/boot/bzImage" "$kept/vmlinux"
		echo "$release" > "$kept/release"
	fi
	release=$(cat "$kept/release")
	rm -rf "$dest" && mkdir -p "$dest"
	ln -s "$kept/vmlinux" "$kept/lib" "$dest"
	ln -s "$kept/build" "$dest/headers"
	ln -s "$kept/build/.config" "$dest/config"
	ln -s "lib/modules/$release" "$dest/modules"
	echo "$release" > "$dest/release"
}

case ${1:-} in
debug)	build_debug ;;
image)	unpack_image "${2:?kernel}" ;;
source)	unpack_source "${2:?kernel}" ;;
tree)	unpack_parts "${2:?kernel}" "${3:?folder}" include arch/x86 block init ipc kernel lib mm ;;
*)	die "usage: kernel.sh debug, or kernel.sh image|source|tree KERNEL" ;;
esac
