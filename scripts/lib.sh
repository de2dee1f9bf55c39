# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# What the scripts share: where things are, and how a machine gets what it lacks.

SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Of the program and its tests; clang, shellcheck and the like come on top.
BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 liblmdb-dev libxxhash-dev)

say()
{
	echo "$*"
}

# need PACKAGE...: installs what is missing. 1 when that cannot be done; what is missing is said.
need()
{
	local missing=() as=() p
	for p; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return 0
	if ! command -v apt-get >/dev/null; then
		echo "This is not Debian: please install what these Debian packages hold: ${missing[*]}"
		return 1
	fi
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "Please install as root: apt-get install ${missing[*]}"
			return 1
		fi
		as=(sudo)
	fi
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	"${as[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" ||
		{ "${as[@]}" apt-get update -q && "${as[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"; }
}

# Prints the type of the file system that DIR, or the nearest directory above it, lies on.
type_of()
{
	local d=$1
	while [ ! -d "$d" ]; do
		d=$(dirname "$d")
	done
	stat -f -c %T "$d"
}

# May a STATE lie there?
holds_state()
{
	case $(type_of "$1") in
	overlay* | nfs* | smb* | cifs* | fuse*) return 1 ;;
	esac
}
