#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Section 3 of the design, row by row: what publishes a name, who sees it before, and what ends it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/writers.sh"

lacks_quietly()
{
	! grep -q "$2" "$1"
}

tp_mount -o ram=64M

note "live"
step live
begin w 'open f wct; write 10 a; say open; wait; write 10 a; say more; wait; kill 9'
said w open
ok "live: a name is there at its creation" holds f 10 a
exec 5<f
go w
said w more
ok "live: it grows in place" holds f 20 a
is "live: for who has it open, too" "$(cat <&5)" aaaaaaaaaaaaaaaaaaaa
exec 5<&-
go w
ended w
ok "live: what a killed writer wrote stays" holds f 20 a
does "live: overwriting is seen at once" 'open f b 1; open f wt; holds 0 x 1; write 5 b; holds 5 b 1'
mkdir "$MNT/samples/live"
fails "live is refused in samples/" "$TIDEPOOL" set "$MNT/samples/live" commit=live

note "close"
step close
begin w "open f wct; write 100000 a; exists f; size f 100000; listed . f; open f r 1; holds 100000 a 1; close 1; say open; wait; close"
said w open
ok "close: a draft is not there for others" absent f
fails "close: nor can it be read" head -c 1 f
has "close: .tidepool/drafts tells of it" "$(cat "$MNT/.tidepool/drafts")" "f"
go w
ends "close: its writer sees it by every path operation" w
ok "close: it is there whole after the last close" holds f 100000 a
lacks "close: and is no draft any more" "$(cat "$MNT/.tidepool/drafts")" "close.*f"

does "close: the last descriptor counts" 'open g wct; write 10 a; dup 1; close; exists g; open g r 2; close 1; close 2'
ok "close: then it is there" holds g 10 a
begin w 'open h wct; write 10 a; dup 1; close; say one; wait; close 1'
said w one
ok "close: not before" absent h
go w
ends "close: of the copy" w
ok "close: now" holds h 10 a

begin w 'open m bct; ftruncate 8192; mmap 8192; mwrite 0 8192 q; close; say mapped; wait; mwrite 0 4096 r; munmap; say gone; wait'
said w mapped
ok "close: a mapping keeps it a draft" absent m
go w
said w gone
ok "close: it appears with the last mapping" test -e m
is "close: with what was written through it" "$(tr -d '\n' <m | cut -c1,4096,4097,8192)" rrqq
go w
ends "close: and its writer ends" w

for sig in 9 15 1 6; do
	begin w "open k$sig wct; write 5000 a; say open; wait; kill $sig"
	said w open
	go w
	ended w
	ok "close: killed by $sig: nothing appears" absent k$sig
done
ok "close: nor is a draft left" eventually 20 lacks_quietly "$MNT/.tidepool/drafts" k9
begin w 'open k bct; write 5000 a; mmap 5000; close; mwrite 0 10 b; say open; wait; kill 9'
said w open
go w
ended w
ok "close: killed with a mapping only: nothing appears" absent k
begin w 'open s wct; write 5000 a; fsync; say open; wait; kill 9'
said w open
go w
ended w
ok "close: what fsync answered is kept" holds s 5000 a
begin w 'open ms bct; write 5000 a; mmap 5000; mwrite 0 5000 c; msync; close; say open; wait; kill 9'
said w open
go w
ended w
ok "close: what msync answered, too" holds ms 5000 c
echo old >o
begin w 'open o wct; write 50 a; say open; wait; kill 9'
said w open
is "close: the old generation stays while it is overwritten" "$(cat o)" old
go w
ended w
is "close: and when the writer was killed" "$(cat o)" old
begin w 'open ck wct; write 10 a; close; kill 9'
ended w
ok "close: closed first and killed then: it is published" holds ck 10 a
begin w 'open e wct; write 10 a; exit 3'
ended w
ok "close: who exits, with whatever status, has published" holds e 10 a
begin w 'open z wct; say open; wait; kill 9'
said w open
go w
ended w
ok "close: killed before it wrote: nothing" absent z

note "success"
step success
begin w 'open f wct; write 10 a; exit 3'
ended w
ok "success: exit 3 with NAME open publishes nothing" absent f
begin w 'open f wct; write 10 a; fsync; exit 3'
ended w
ok "success: fsync or not" absent f
begin w 'open f wct; write 10 a; fsync; say open; wait; kill 9'
said w open
go w
ended w
ok "success: killed after fsync: nothing" absent f
begin w 'open f wct; write 10 a; exit 0'
ended w
ok "success: exit 0 publishes" holds f 10 a
begin w 'open f wct; write 10 b; close; exit 3'
ended w
ok "success: closed before exit 3: published" holds f 10 b
begin w 'open f wct; write 10 c; exit 1'
ended w
ok "success: a failed overwriting leaves the old generation" holds f 10 b
(echo part; exit 3) >g
ok "success: a subshell that fails, by its redirection" absent g
ok "success: cp" cp f h
ok "success: is whole" holds h 10 b

note "rename"
step rename
fails_with "rename: another name is EPERM at once" "not permitted" touch f
ok "rename: and not there" absent f
does "rename: a temporary name and a rename" 'open .f wct; write 10 a; close; rename .f f'
ok "rename: publishes" holds f 10 a
does "rename: a temporary name and a link" 'open g.tmp wct; write 10 b; close; link g.tmp g; unlink g.tmp'
ok "rename: publishes, too" holds g 10 b
does "rename: O_TMPFILE and linkat" 'tmpfile .; write 10 c; linkat h; close'
ok "rename: publishes, too" holds h 10 c
does "rename: over a published name" 'open .f wct; write 10 d; close; rename .f f'
ok "rename: replaces it" holds f 10 d
ok "rename: directories can be made" mkdir d
fails_with "rename: the step is inherited" "not permitted" touch d/f
fails_with "rename: overwriting in place is EPERM" "not permitted" sh -c 'echo x 1<>f'
ok "rename: the old one stays" holds f 10 d

note "temporary names"
step close
for name in .x x.tmp x.part x.partial a.tmp.b; do
	begin w "open $name wct; write 10 a; say open; wait; close"
	said w open
	ok "$name is seen by everybody from creation" holds "$name" 10 a
	go w
	ends "$name is closed" w
	does "$name is renamed" "rename $name pub$name.x"
	ok "$name has published its name" holds "pub$name.x" 10 a
done
begin w 'open .x wct; write 10 a; say open; wait; write 10 a; close'
said w open
mv .x y
go w
ends "renamed while it is written" w
ok "it is published at the last close" holds y 20 a
echo old >t
begin w 'open .t wct; write 10 a; say open; wait; kill 9'
said w open
go w
ended w
is "a killed writer of a temporary name touches no other" "$(cat t)" old
mkdir .batch.tmp
for i in 1 2 3; do echo $i >.batch.tmp/$i; done
ok "mv .batch.tmp batch publishes a directory in one step" mv .batch.tmp batch
is "whole" "$(cat batch/*)" "1
2
3"

note "unlink"
step close
does "mkstemp and unlink" 'open m.Ab12 bcx; write 10 a; unlink m.Ab12; links 0; absent m.Ab12; holds 10 a; write 10 a; close'
ok "it never appears" absent m.Ab12
begin w 'open f wct; write 10 a; unlink f; close; !ENOENT unlink f'
ended w
is "a draft is unlinked by its writer" $w_status 0
ok "it never appears" absent f
echo old >p
exec 5<p
rm p
is "an unlinked generation is still read by who has it open" "$(cat <&5)" old
exec 5<&-
echo old >p
does "its writer unlinks what it overwrites" 'open p wt; write 10 a; unlink p; close'
ok "the name is gone" absent p

note "overwriting with readers"
step close
head -c 100000 /dev/zero | tr '\0' a >f
ino=$(inode f)
exec 5<f
begin w 'open f wt; write 50000 b; say open; wait; close'
said w open
ok "the old generation stays for new readers" holds f 100000 a
go w
ends "until the new one is published" w
ok "then it is there, whole" holds f 50000 b
is "who had it open reads the old bytes" "$(sha256sum <&5)" "$(head -c 100000 /dev/zero | tr '\0' a | sha256sum)"
exec 5<&-
is "st_ino survives overwriting" "$(inode f)" "$ino"
begin w 'open f b; pwrite 10 5 c; say open; wait; close'
said w open
ok "a write without O_TRUNC is not seen either" holds f 50000 b
go w
ends "until the last close" w
is "then it is" "$(head -c 16 f)" bbbbbbbbbbcccccb
exec 5<f
does "truncate(2) by path" 'truncate f 3'
ok "is published at once" holds f 3 b
is "and leaves who has it open alone" "$(wc -c <&5)" 50000
exec 5<&-
begin p 'open two wct; write 10 a; say open; wait; close'
said p open
begin q 'open two wct; write 20 b; say open; wait; close'
said q open
ok "two drafts of one name are two" absent two
go p
ends "the first is closed" p
ok "and is there" holds two 10 a
ino=$(inode two)
go q
ends "the second is closed" q
ok "the later publication is the new generation" holds two 20 b
is "of the same identity" "$(inode two)" "$ino"

note "appending"
step close
begin w 'open log wca; write 10 a; say open; wait; write 10 a; say more; wait; close'
said w open
ok "a log appears at once" holds log 10 a
exec 5<log
go w
said w more
ok "and grows" holds log 20 a
is "for who reads it, too" "$(cat <&5)" aaaaaaaaaaaaaaaaaaaa
exec 5<&-
go w
ends "its writer closes" w
begin w 'open log wa; write 10 a; say open; wait; kill 9'
said w open
ok "one that is appended to again grows at once" holds log 30 a
go w
ended w
ok "a killed writer takes no line back" holds log 30 a
mkdir "$MNT/samples/app"
fails_with "in a stream O_APPEND is EPERM" "not permitted" sh -c "echo x >>$MNT/samples/app/x"

note "who sees a draft"
step close
begin w 'open f wct; write 10 a; say open; wait; !EEXIST open f wcx 1; close'
said w open
fails_with "O_EXCL meets another's draft with EEXIST" "exist" sh -c 'set -C; echo x >f'
does "so does open(2)" '!EEXIST open f wcx'
fails "unlink by another does not find it" rm f
fails "nor does rename" mv f g
go w
ends "and its writer, too, when it tries O_EXCL on its own" w
ok "which is then published" holds f 10 a
begin w 'open j wct; write 10 a; say open; wait; close'
said w open
does "opening without O_TRUNC joins the draft" 'open j bc; holds 10 a; pwrite 10 10 a; close'
ok "which is one still" absent j
go w
ends "closed by its creator" w
ok "it has what both wrote" holds j 20 a
does "its own second open, with O_TRUNC too, is the same draft" \
	'open own wct; write 10 a; open own wct 1; write 5 b 1; close 1; exists own; close; same own own'
ok "published once" holds own 5 b
begin w 'open d wct; write 10 a; say open; wait; !EEXIST close'
said w open
ok "mkdir onto a draft's name wins" mkdir d
go w
ends "and the draft's close gets EEXIST" w
ok "the directory stays" test -d d
echo new >n
begin w 'open r wct; write 10 a; say open; wait; !EEXIST close'
said w open
ok "rename onto a draft's name wins" mv n r
go w
ends "and the draft's close gets EEXIST" w
is "what was renamed stays" "$(cat r)" new
mkdir dir
begin w 'open dir/x wct; write 10 a; say open; wait; exit 0'
said w open
ok "rmdir of a directory with nothing but drafts" rmdir dir
go w
ended w
ok "drops them" absent dir
ok "with an event" has_event "dir/x"
does "rename of a draft by its writer" 'open a1 wct; write 10 a; rename a1 a2; absent a1; exists a2; close'
ok "it appears under the new name" holds a2 10 a
ok "and not under the old one" absent a1
mkdir m1
begin w 'open m1/x wct; write 10 a; say open; wait; close'
said w open
mv m1 m2
go w
ends "a draft in a directory that is renamed" w
ok "goes with it" holds m2/x 10 a

note "threads and children"
step close
begin w 'open f wct; thread write 10 a; close; exit 3'
ended w
ok "a thread of the writer writes" holds f 10 a
begin w 'open g wct; thread write 10 a; say open; wait; thread kill 9'
said w open
go w
ended w
ok "a thread kills the writer: nothing appears" absent g
does "an idle child that is killed" 'open h wct; write 10 a; child; endchild 9; close'
ok "does not drop the draft" holds h 10 a
does "nor does one that exits 3" 'open h2 wct; write 10 a; child; endchild exit; close'
ok "it is published" holds h2 10 a
begin w 'open i wct; write 10 a; child; close; say closed; wait; endchild exit'
said w closed
ok "a child that keeps a copy keeps the name a draft" absent i
has "drafts says so" "$(cat "$MNT/.tidepool/drafts")" "/i"
go w
ends "the child ends" w
ok "then it is there" holds i 10 a
begin w 'open j wct; fork write 10 a, kill 9; write 10 a; close; exit 0'
ended w
ok "a child that wrote and was killed drops it" absent j
begin w 'open k wct; fork write 10 a, close; close'
ended w
ok "a child that wrote and closed does not" holds k 10 a
step success
begin w 'open l wct; fork write 10 a, exit 3; write 10 a; close; exit 0'
ended w
ok "success: a child that wrote and exited 3 drops it" absent l
does "success: an idle child that exits 3" 'open m wct; write 10 a; child; endchild exit; close'
ok "success: does not" holds m 10 a

note "identity and attributes"
step close
begin w 'open f wct; write 10 a; chmod f 600; say open; wait; close; say closed; wait'
said w open
go w
said w closed
is "a mode that was set on a draft sticks" "$(stat -c %a f)" 600
go w
ends "and its writer ends" w
touch -d '2001-02-03 04:05:06.789' f
is "times to the nanosecond" "$(stat -c %y f)" "$(date -d '2001-02-03 04:05:06.789' '+%F %T.%N %z')"
chmod 640 f
ino=$(inode f)
echo new >f
is "the mode survives overwriting" "$(stat -c %a f)" 640
is "and so does st_ino" "$(inode f)" "$ino"
cp -p "$TP_SRC/LICENSE" lic
is "cp -p keeps the time" "$(stat -c %Y lic)" "$(stat -c %Y "$TP_SRC/LICENSE")"

note "links"
step close
echo one >f
ok "a hard link" ln f g
is "has the same inode" "$(inode g)" "$(inode f)"
is "and two names" "$(stat -c %h f)" 2
echo two >f
is "overwriting through one name is seen through the other" "$(cat g)" two
rm f
is "the other stays" "$(cat g; stat -c %h g)" "two
1"
does "ln of what is open elsewhere" 'open g r; link g h; links 2; close'

note "the same bytes twice"
step close
head -c 100000 /dev/urandom >"$TP_DIR/bytes"
cp "$TP_DIR/bytes" f
begin p 'open f wct; write 100 a; say open; wait; close'
said p open
begin q 'open f wct; write 100 a; say open; wait; close'
said q open
go p
ends "one writer" p
go q
ends "another writer of the same bytes" q
ok "both succeed" holds f 100 a
ok "and there is an event" has_event 'dedup.*f'

note "space"
step close
# In MiB; threads that wait for requests keep one each.
used()
{
	echo $((($(stat_of tidepool_pool_size_bytes) - $(stat_of tidepool_pool_free_bytes)) / 1048576))
}
before=$(used)
begin w 'open big wct; write 20000000 a; say open; wait; kill 9'
said w open
ok "what is being written takes room" test "$(used)" -ge $((before + 12))
go w
ended w
ok "a killed writer's bytes appear nowhere" absent big
ok "and are free at once" test "$(used)" -le $((before + 6))
does "an unlinked draft's bytes" 'open big wct; write 20000000 a; unlink big; close'
absent big
ok "are free at once" test "$(used)" -le $((before + 6))
cd /
