#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Which interface of an unknown kernel is another than what the module was written for?
# Prints the first one, or nothing.
#
# usage: interfaces.sh FOLDER	where the kernel's include/ is
#
# Blanks do not count: kernels are reformatted now and then.
set -eu

tab=$(printf '\t')
name=''
found=yes

# None of the declarations of the last name is there.
conclude()
{
	[ "$found" = no ] || return 0
	echo "$name of $header is another, or gone"
	exit
}

while IFS=$tab read -r file this declaration; do
	case $file in
	'#'*) continue ;;
	esac
	if [ "$this" != "$name" ]; then
		conclude
		name=$this header=$file found=no
	fi
	[ "$found" = no ] || continue
	wanted=$(printf '%s' "$declaration" | tr -d ' \t')
	if tr -d ' \t\n' < "$1/$file" 2>/dev/null | grep -qF -- "$wanted"; then
		found=yes
	fi
done < "$(dirname "$0")/interfaces"
conclude
