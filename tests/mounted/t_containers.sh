#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Writers in other pid namespaces and of other users: killed ones publish nothing where that can be known, and where it cannot be known it is said.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/writers.sh"
requires_root
requires unshare
unshare -pf --mount-proc true 2>/dev/null || skip "no pid namespaces here"

# A killed writer's name, and an orderly one's: $1 says whose, the rest is what stands before the command.
try()
{
	local whose=$1
	shift
	w_prefix=("$@")
	begin w 'open f wct; write 10 a; say open; wait; close'
	said w open
	ok "$whose: a draft is not seen" absent f
	go w
	ends "$whose: closes" w
	ok "$whose: it is published" holds f 10 a
	begin w 'open f wct; write 20 b; say open; wait; kill 9'
	said w open
	go w
	ended w
	w_prefix=()
}

# The first process of a namespace cannot be killed from inside: a shell stands there.
apart=(unshare -pf --mount-proc --kill-child sh -c '"$@"; exit $?' sh)

is_no_draft()
{
	! grep -q "$1" "$MNT/.tidepool/drafts"
}

tp_mount
step close
try "a pid namespace below" "${apart[@]}"
ok "a pid namespace below: killed, the old one stays" holds f 10 a
# Killed from outside, with all that is in its namespace.
w_prefix=("${apart[@]}")
begin w 'open g wct; write 20 b; child; say open; wait'
said w open
kill -KILL "${w_pid[w]}"
ended w
w_prefix=()
ok "its whole container is killed: the draft goes" eventually 60 is_no_draft "${D##*/}/g"
ok "and nothing appears" absent g
step success
try "success: a pid namespace below" "${apart[@]}"
ok "success: killed, the old one stays" holds f 10 a
w_prefix=("${apart[@]}")
begin w 'open h wct; write 20 b; exit 3'
ended w
w_prefix=()
ok "success: exit 3 there publishes nothing" absent h

requires_user
step close
chmod 777 "$D"
try "another user" setpriv --reuid $NOBODY --regid $NOBODY --clear-groups
ok "another user: killed, the old one stays" holds f 10 a
lacks "health has nothing to say of it" "$(cat "$MNT/.tidepool/health")" draft
cd /
tp_umount

# A daemon in a namespace of its own does not see who writes from outside.
printf '#!/bin/sh\nexec unshare -pf --kill-child "%s" "$@"\n' "$TIDEPOOL" >"$TP_DIR/apart"
chmod 755 "$TP_DIR/apart"
real=$TIDEPOOL
TIDEPOOL=$TP_DIR/apart
tp_mount
TIDEPOOL=$real
step close
before=$(stat_of tidepool_drafts_unknown_end_total)
begin w 'open f wct; write 20 b; say open; wait; kill 9'
said w open
go w
ended w
ok "an end that cannot be known: it is published" holds f 20 b
ok "and counted" test "$(stat_of tidepool_drafts_unknown_end_total)" -gt "$before"
has "and health says so" "$(cat "$MNT/.tidepool/health")" draft

# All who write and read here look the same to it.
begin w 'open g wct; write 20 a; say open; wait; close'
said w open
ok "of several that cannot be seen, others do not see a draft" absent g
ok "nor remove it" test "$(rm g 2>&1)" != ""
does "another one writes the same name" 'open g wct; write 10 b; close'
ok "and publishes what it wrote" holds g 10 b
go w
ends "the first one closes" w
ok "and publishes what it wrote, later" holds g 20 a
begin w 'open g wt; write 30 c; say open; wait; close'
said w open
ok "while one overwrites, others read the old bytes" holds g 20 a
does "another one overwrites it" 'open g wt; write 10 d; close'
ok "and its bytes are its own" holds g 10 d
go w
ends "the first one closes, too" w
ok "and so are its bytes" holds g 30 c

# $1 in many lines, many times over; an error of an open would be told.
overwrite()
{
	local i
	for ((i = 0; i < 200; i++)); do
		yes "$1" | head -n 2000 >g || return 1
	done
}

whole()
{
	local i
	for ((i = 0; i < 200; i++)); do
		[ "$(sort -u g | wc -l)" = 1 ] || return 1
	done
}

yes a | head -n 2000 >g
overwrite a &
a=$!
overwrite bb &
b=$!
ok "two overwrite a name all the time: others read one or the other" whole
ok "the one meets no error" wait $a
ok "nor does the other" wait $b
cd /
