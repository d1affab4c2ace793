#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Download Debian kernel packages and unpack them under build/.
#
# usage: kernel.sh image  KERNEL	-> build/kernel/KERNEL: image, modules, headers
#        kernel.sh source KERNEL	-> build/kernel/source: kselftest, checkpatch
#
# Neither the machine's apt state nor its /boot is touched: apt is given a private
# sources list, made from the machine's own, so that its mirror is used whatever
# that is. Downloads are kept in the cache folder and may be deleted at any time.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
build=$(readlink -f "$here/../..")/build
cache=${MF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/migrate-fast}
codename=bookworm

die()
{
	echo "kernel.sh: $*" >&2
	exit 1
}

private_apt()
{
	local tool=$1
	shift
	"$tool" -qq -o "Dir::Etc::sourcelist=$cache/apt/sources.list" \
		-o Dir::Etc::sourceparts=/nonexistent \
		-o "Dir::State::lists=$cache/apt/lists" \
		-o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" \
		-o APT::Sandbox::User=root "$@"
}

# The lines of the private list: each suite of this release that the machine itself
# uses, and the backports of the same mirror. apt does not tell a source's key; the
# archive's own is the right one unless the machine trusts others as a whole.
sources_list()
{
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	local uri suite options=

	[ ! -e $keyring ] || options="[signed-by=$keyring] "
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' 'Component: main' |
	sort -u |
	while read -r uri suite; do
		case $suite in
		"$codename"|"$codename-updates"|"$codename-security") ;;
		*) continue ;;
		esac
		echo "deb $options$uri $suite main"
		[ "$suite" != "$codename" ] ||
			echo "deb $options$uri $codename-backports main"
	done
}

# Another checkout may be set up at the same moment. Held until we end.
lock_cache()
{
	mkdir -p "$cache"
	exec 9> "$cache/lock"
	flock 9
}

apt_update()
{
	mkdir -p "$cache/apt/lists/partial"
	sources_list > "$cache/apt/sources.list"
	[ -s "$cache/apt/sources.list" ] ||
		die "no Debian $codename repository in this machine's apt configuration"
	echo "kernel.sh: reading package lists" >&2
	private_apt apt-get update >&2
}

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

# Fetch packages into the cache; print the files' names.
fetch()
{
	local package file

	mkdir -p "$cache/debs"
	for package; do
		# Asked elsewhere: apt does not name what the folder already has.
		file=$(cd / && private_apt apt-get download --print-uris "$package" |
		       cut -d' ' -f2)
		[ -n "$file" ] || die "no package $package"
		if [ ! -s "$cache/debs/$file" ]; then
			echo "kernel.sh: downloading $package" >&2
			(cd "$cache/debs" && private_apt apt-get download "$package") >&2
		fi
		echo "$cache/debs/$file"
	done
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

unpack_source()
{
	local dest=$build/kernel/source tmp=$build/kernel/source.tmp
	local name=linux-source-$1 deb

	[ ! -e "$dest" ] || return 0
	lock_cache
	[ -s "$cache/apt/sources.list" ] || apt_update
	rm -rf "$tmp"
	mkdir -p "$tmp"
	deb=$(fetch "$name")
	echo "kernel.sh: unpacking parts of $name" >&2
	dpkg-deb --fsys-tarfile "$deb" |
	tar -xO "./usr/src/$name.tar.xz" |
	xz -dc -T0 |
	tar -x -C "$tmp" --strip-components=1 --wildcards --no-wildcards-match-slash \
		"$name/scripts/checkpatch.pl" "$name/scripts/spelling.txt" \
		"$name/scripts/const_structs.checkpatch" \
		"$name/tools/testing/selftests/lib.mk" \
		"$name/tools/testing/selftests/kselftest*"
	mv "$tmp" "$dest"
}

case ${1:-} in
image)	unpack_image "${2:?kernel}" ;;
source)	unpack_source "${2:?kernel}" ;;
*)	die "usage: kernel.sh image|source KERNEL" ;;
esac
