# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Debian packages that are unpacked under build/ and never installed; for sourcing.
#
# The machine's apt state is not touched: apt is given a private sources list, made from
# the machine's own, so that its mirror is used whatever that is. Downloads are kept in
# the cache folder and may be deleted at any time.

here=$(dirname "$(readlink -f "$0")")
# shellcheck disable=SC2034 # for who sources this
build=$(readlink -f "$here/../..")/build
cache=${MF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/migrate-fast}
codename=bookworm
# Of the private apt.
apt=$cache/apt
me=${0##*/}

die()
{
	echo "$me: $*" >&2
	exit 1
}

private_apt()
{
	local tool=$1
	shift
	"$tool" -qq -o "Dir::Etc::sourcelist=$apt/sources.list" \
		-o Dir::Etc::sourceparts=/nonexistent \
		-o "Dir::State::lists=$apt/lists" \
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
	mkdir -p "$apt/lists/partial"
	sources_list > "$apt/sources.list"
	[ -s "$apt/sources.list" ] ||
		die "no Debian $codename repository in this machine's apt configuration"
	echo "$me: reading package lists" >&2
	private_apt apt-get update >&2
}

# Fetch packages, NAME or NAME/SUITE, into the cache; print the files' names.
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
			echo "$me: downloading $package" >&2
			(cd "$cache/debs" && private_apt apt-get download "$package") >&2 ||
				die "cannot download $package"
		fi
		echo "$cache/debs/$file"
	done
}

# Names of those packages that one depends on which are like the pattern.
depends_of()
{
	private_apt apt-cache depends "$1" | sed -n "s/^ *Depends: \\($2\\)\$/\\1/p"
}

# Files of a kernel's packages, whose names are read, into a folder: what hosts have no
# use for is left out.
unpack_kernel()
{
	local deb

	while read -r deb; do
		dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$1" --exclude=./usr/share --exclude='./boot/System.map*' \
			--exclude='*/drivers/gpu' --exclude='*/drivers/media' \
			--exclude='*/sound' --exclude='*/drivers/infiniband'
	done
}
