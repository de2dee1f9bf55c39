#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mount(8) mounts by a line of an fstab, type fuse.tidepool.

# mount.fuse looks for the program in the system's own directories: one that has it is laid over one of them, in a mount namespace of our own.
if [ -z "${TP_OWN_NAMESPACE:-}" ] && [ "$(id -u)" = 0 ] && unshare -m --propagation private true 2>/dev/null; then
	exec env TP_OWN_NAMESPACE=1 unshare -m --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
requires_root
requires mount.fuse umount
[ -n "${TP_OWN_NAMESPACE:-}" ] || skip "a mount namespace of our own cannot be made"
mkdir "$TP_DIR/bin"
ln -s "$TIDEPOOL" "$TP_DIR/bin/tidepool"
mount --bind "$TP_DIR/bin" /usr/local/sbin 2>/dev/null || skip "nothing can be laid over /usr/local/sbin"
env -u PATH /bin/sh -c 'command -v tidepool' >/dev/null || skip "the shell does not look in /usr/local/sbin by itself"

STATE=$TP_DIR/s
MNT=$TP_DIR/m
mkdir "$MNT" "$TP_DIR/other"
cat >"$TP_DIR/fstab" <<END
$STATE $MNT fuse.tidepool ram=32M,prefault=off,noexec,nosymfollow,mand,noiversion,nofail,_netdev,x-systemd.device-timeout=3 0 0
$STATE.bad $TP_DIR/other fuse.tidepool noauto,wet 0 0
END

# mounts WHAT [mount's arguments]
mounts()
{
	local what=$1
	shift
	ok "$what" mount -T "$TP_DIR/fstab" "$@"
	ok "and it answers" touch "$MNT/cache/f"
	pid=$(cut -d' ' -f1 "$STATE/daemon")
}

unmounts()
{
	ok "umount(8)" umount "$MNT"
	ok "its daemon ends" eventually 20 process_gone "$pid"
}

mounts "mount DIR" "$MNT"
has "with STATE as source, and the flags of the line" "$(grep " $MNT " /proc/self/mountinfo)" "noexec.* - fuse.tidepool $STATE "
has "and its options" "$(cat "$MNT/.tidepool/config")" "^ram=32M +# command line$"
has "and that links are not followed" "$(cat "$MNT/.tidepool/config")" "^symfollow=off +# command line$"
is "status finds it" "$("$TIDEPOOL" status --json "$STATE" | cut -c 1-15)" '{"mounted":true'
ok "mount -a" mount -T "$TP_DIR/fstab" -a
is "does not mount it again" "$(grep -c " $MNT " /proc/self/mountinfo)" 1
fails_with "remount says what to do" "unmount, and mount again" mount -o remount,ro "$MNT"
ok "and changes nothing" touch "$MNT/cache/g"
unmounts
mounts "mount STATE" "$STATE"
unmounts
mounts "mount -a" -a
unmounts
mounts "mount -t" -t fuse.tidepool -a
# What comes right behind finds it drained still, and waits.
ok "umount(8)" umount "$MNT"
mounts "again at once" "$MNT"
unmounts
fails_with "a bad line says why" "there is no option 'wet'" mount -T "$TP_DIR/fstab" "$TP_DIR/other"
fails "and makes nothing" test -e "$STATE.bad"
