# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Writers that a test commands: each is a tp-writer (tests/storm/writer.c) with its own pipes. Read after lib.sh.
#
#	does "WHAT" 'open f wct; write 10 a; close'	a writer does all that and ends well
#	begin w 'open f wct; say open; wait; close'	one that goes on in the background
#	said w open					it has come to `say open`
#	go w						it goes on behind `wait`
#	ended w						waits for its end; the status is in $w_status
#
# A writer that begins with a prefix: w_prefix=(setpriv ...) begin ...

W=$TP_BUILD/tests/storm/tp-writer
declare -A w_in w_out w_pid
w_prefix=()
w_status=0

does()
{
	local what=$1
	shift
	ok "$what" within 120 "$W" "$@"
}

begin()
{
	local name=$1 f=$TP_DIR/.pipe.$1 fd
	rm -f "$f.in" "$f.out"
	mkfifo "$f.in" "$f.out"
	exec {fd}<>"$f.in"
	w_in[$name]=$fd
	exec {fd}<>"$f.out"
	w_out[$name]=$fd
	"${w_prefix[@]}" "$W" "$2" <"$f.in" >"$f.out" 2>"$f.err" &
	w_pid[$name]=$!
}

said()
{
	local line
	if ! read -r -t $((120 * TP_SLOW)) line <&"${w_out[$1]}" || [ "$line" != "$2" ]; then
		fail "writer $1 said '$2'"
		sed 's/^/# /' "$TP_DIR/.pipe.$1.err"
		exit 1
	fi
}

go()
{
	echo >&"${w_in[$1]}"
}

# Its descriptors of the mount are closed when this returns, also when it was killed.
ended()
{
	local fd
	wait "${w_pid[$1]}" 2>/dev/null
	w_status=$?
	if [ $w_status = 98 ]; then
		fail "writer $1 did what it was told"
		sed 's/^/# /' "$TP_DIR/.pipe.$1.err"
	fi
	fd=${w_in[$1]}
	exec {fd}>&-
	fd=${w_out[$1]}
	exec {fd}>&-
}

# ends WHAT NAME: it ends with status 0.
ends()
{
	ended "$2"
	is "$1" "$w_status" 0
}

# step STEP: a new empty directory with this step of the ladder, and goes there. Its path is in $D.
step_count=0
step()
{
	step_count=$((step_count + 1))
	D=$MNT/cache/$1.$step_count
	mkdir "$D" || exit 1
	"$TIDEPOOL" set "$D" commit="$1" || { fail "commit=$1 can be set"; exit 1; }
	cd "$D" || exit 1
}

is_listed()
{
	find "$(dirname "$1")" -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -qxF -- "$(basename "$1")"
}

absent()
{
	[ ! -e "$1" ] && [ ! -L "$1" ] && ! is_listed "$1"
}

# holds FILE COUNT CHAR: it is that character so many times, and is listed.
holds()
{
	[ "$(head -c "$2" /dev/zero | tr '\0' "$3" | sha256sum)" = "$(sha256sum <"$1")" ] &&
		[ "$(stat -c %s "$1")" = "$2" ] && is_listed "$1"
}

inode()
{
	stat -c %i "$1"
}
