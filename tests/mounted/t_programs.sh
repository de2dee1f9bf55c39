#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everyday programs do the whole job in cache/, as in any directory.
# shellcheck disable=SC2016 # what stands in single quotes is for another shell
. "$(dirname "$0")/lib.sh"
requires python3 tar rsync git sqlite3 vim

tp_mount -o ram=256M
cd "$MNT/cache" || exit 1

# A tree with what programs trip over: depth, odd names, links, empty and large files, modes, times.
tree=$TP_DIR/tree
mkdir -p "$tree/a/b/c" "$tree/empty" "$tree/with blank"
cp "$TP_SRC"/tests/mounted/*.sh "$tree/a/"
head -c 3000000 /dev/urandom >"$tree/a/b/large"
: >"$tree/a/b/c/nothing"
printf 'x' >"$tree/with blank/ö\`\$"
ln -s ../a/lib.sh "$tree/empty/link"
ln "$tree/a/b/large" "$tree/a/b/c/hard"
chmod 750 "$tree/a/b"
chmod 400 "$tree/a/b/c/nothing"
# rsync takes times of the same second for equal: none is of now.
find "$tree" -exec touch -h -d '2003-03-03 03:03:03.030303' {} +
touch -d '2002-02-02 02:02:02.020202' "$tree/a/b/c/nothing" "$tree/a/b"

# listing DIR [find's conditions]: names, kinds, modes, links and times.
listing()
{
	local d=$1
	shift
	(cd "$d" && find . "$@" -printf '%P %y %m %l %TY%Tm%Td%TT\n' | sort)
}

# same DIR [find's conditions]: as in the tree, bytes too.
same()
{
	local d=$1
	shift
	diff -r --no-dereference "$tree" "$d" && [ "$(listing "$tree" "$@")" = "$(listing "$d" "$@")" ]
}

ok "cp -a" cp -a "$tree" cp
ok "is the same" same cp
is "with its hard link" "$(stat -c %h cp/a/b/large)" 2
ok "tar" tar -C "$tree" --format=posix -cf tar.tar .
mkdir tar
ok "tar x" tar -C tar -xf tar.tar
ok "is the same" same tar
ok "rsync -a" rsync -aH "$tree/" rsync
ok "is the same" same rsync
echo more >>"$tree/a/lib.sh"
rm "$tree/a/t_smoke.sh"
ok "rsync -a --delete again" rsync -aH --delete "$tree/" rsync
ok "is the same" same rsync ! -type d
ok "rsync --inplace" rsync -aH --inplace --no-whole-file "$tree/" rsync
is "nothing is left of its temporary names" "$(find rsync -name '.*.??????')" ""
ok "mv of a directory" mv cp moved
ok "rm -r" rm -r moved tar tar.tar

export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
mkdir repo
ok "git init" git -C repo init -q
cp "$TP_SRC"/tests/mounted/*.sh repo/
ok "git add" git -C repo add .
ok "git commit" git -C repo commit -q -m one
echo x >>repo/lib.sh
ok "git commit again" git -C repo commit -qam two
ok "git clone" git clone -q --no-hardlinks "file://$MNT/cache/repo" clone
ok "git fsck" git -C clone fsck --full --strict
is "has both commits" "$(git -C clone log --format=%s)" "two
one"
ok "git gc" git -C clone gc -q --aggressive --prune=now
ok "git branch and merge" sh -c 'cd clone && git checkout -q -b b && echo y >>lib.sh && git commit -qam three &&
	git checkout -q - && git merge -q b && git stash list && git status --short'
is "git status is clean" "$(git -C clone status --porcelain)" ""
ok "git fsck" git -C clone fsck --full --strict

ok "sqlite3" sqlite3 db 'pragma journal_mode=wal; create table t(a); insert into t values(1),(2); update t set a=a+1;'
is "reads it back" "$(sqlite3 db 'select sum(a) from t; pragma integrity_check')" "5
ok"
ok "sqlite3 .backup and vacuum" sqlite3 db '.backup copy' 'vacuum' 'pragma journal_mode=delete' 'insert into t values(9)'
is "the copy is whole" "$(sqlite3 copy 'select sum(a) from t')" 5

printf 'one\ntwo\n' >text
chmod 640 text
for way in backupcopy=no backupcopy=yes nowritebackup 'backup backupcopy=auto'; do
	ok "vim, set $way" within 120 vim -es -u NONE -c "set $way" -c '$s/$/!/' -c wq text
done
is "has written each time" "$(cat text)" "one
two!!!!"
is "and kept the mode" "$(stat -c %a text)" 640

cat >"$TP_DIR/ways.py" <<'PY'
import os, shutil, tempfile
fd, name = tempfile.mkstemp(dir=".")
os.write(fd, b"by mkstemp")
os.fsync(fd)
os.close(fd)
os.rename(name, "renamed")
assert open("renamed", "rb").read() == b"by mkstemp"
with tempfile.NamedTemporaryFile(dir=".") as f:
    f.write(b"x" * 100000)
    f.flush()
    assert os.path.getsize(f.name) == 100000
assert not os.path.exists(f.name)
with tempfile.TemporaryFile(dir=".") as f:
    f.write(b"y" * 100000)
    f.seek(0)
    assert f.read() == b"y" * 100000
with tempfile.TemporaryDirectory(dir=".") as d:
    open(os.path.join(d, "a"), "w").write("a")
with open("rw", "w+b") as f:
    f.write(b"0123456789")
    f.seek(3)
    f.write(b"abc")
    f.flush()
    os.fsync(f.fileno())
    f.truncate(8)
    os.utime(f.fileno(), ns=(1, 1234567890123456789))
assert open("rw", "rb").read() == b"012abc67"
assert os.stat("rw").st_mtime_ns == 1234567890123456789, os.stat("rw").st_mtime_ns
shutil.copy2("rw", "rw2")
assert os.stat("rw2").st_mtime_ns == 1234567890123456789
with open("rw", "r+b") as f:
    f.write(b"9")
assert open("rw", "rb").read() == b"912abc67"
fd = os.open("sparse", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
os.pwrite(fd, b"z", 500000)
os.close(fd)
assert os.path.getsize("sparse") == 1 << 20
assert open("sparse", "rb").read().count(0) == (1 << 20) - 1
shutil.copytree(".", "../py.copy", symlinks=True)
PY
mkdir py
ok "Python's temporary files, renames, in-place writes" sh -c 'cd py && python3 "$1"' sh "$TP_DIR/ways.py"
ok "leave nothing behind" test "$(cd py && echo ./* ./.[!.]*)" = "./renamed ./rw ./rw2 ./sparse ./.[!.]*"

# tail -f of a log that is appended to by one process after another.
: >log
tail -n +1 -f log >"$TP_DIR/tailed" &
tail=$!
for i in 1 2 3 4 5; do
	echo "line $i" >>log
done
tailed()
{
	[ "$(cat "$TP_DIR/tailed")" = "$(cat log)" ]
}
ok "tail -f of a log" eventually 60 tailed
exec 7>>log
for i in 6 7 8; do
	echo "line $i" >&7
	ok "tail -f sees line $i while the writer goes on" eventually 60 tailed
done
exec 7>&-
kill $tail
wait $tail 2>/dev/null

# tail -f of the events, which are rotated meanwhile. A file whose bytes do not change says so, in nearly 4 KiB with a name like this.
name=$(printf '\001%.0s' {1..250})
deep=$MNT/cache/$name/$name/$name/${name:0:200}
mkdir -p "$deep"
tail -n 0 -s 0.02 -f "$MNT/.tidepool/events" >"$TP_DIR/tailed" 2>"$TP_DIR/tail.err" &
tail=$!
# The first ones tell when it has begun.
begun()
{
	echo x >"$deep/first"
	grep -q /first "$TP_DIR/tailed"
}
events_tailed()
{
	tail -n 1 "$TP_DIR/tailed" | grep -q "/n$i\$"
}
ok "tail -f of the events" eventually 60 begun
for i in {1000..4499}; do
	echo x >"$deep/n$i"
	echo x >"$deep/n$i"
	[ $((i % 100)) != 99 ] || eventually 60 events_tailed || break
done
kill $tail
wait $tail 2>/dev/null
is "tail -f of the events shows each line once" "$(grep -o '/n[0-9]*$' "$TP_DIR/tailed")" "$(printf '/n%s\n' {1000..4499})"
is "and says nothing" "$(cat "$TP_DIR/tail.err")" ""
cat "$MNT/.tidepool/events" >"$TP_DIR/kept"
kept=$(stat -c %s "$TP_DIR/kept")
ok "the events were rotated" test "$kept" -lt "$(stat -c %s "$MNT/.tidepool/events")"
ok "what is kept begins with a whole line" grep -q "^$(date -u +%Y)-.*Z dedup " <(head -n 1 "$TP_DIR/kept")
is "and ends with the last" "$(tail -n 1 "$TP_DIR/kept")" "$(tail -n 1 "$MNT/.tidepool/events")"
is "each once" "$(grep -o '/n[0-9]*$' "$TP_DIR/kept" | uniq -d)" ""
rm -r "$MNT/cache/$name"

(
	flock 9
	echo "under a lock" >locked
) 9>LOCK
is "(flock 9; ...) 9>LOCK" "$(cat locked)" "under a lock"
ok "touch" touch touched
is "makes an empty file" "$(stat -c %s touched)" 0
ok "dd with O_DIRECT" dd if=/dev/zero of=dd bs=1M count=3 oflag=direct status=none
ok "dd that goes on in the middle" sh -c 'printf abc | dd of=dd bs=1 seek=5000 conv=notrunc status=none'
is "has the right length" "$(stat -c %s dd)" 3145728
is "and the right bytes" "$(dd if=dd bs=1 skip=4999 count=5 status=none | od -An -c | tr -d ' ')" '\0abc\0'
ok "sed -i" sed -i s/lock/key/ locked
is "has changed it" "$(cat locked)" "under a key"
ok "sort -o of its own input" sh -c 'printf "b\na\n" >s && sort -o s s'
is "sorts" "$(cat s)" "a
b"
ok "install" install -m 755 "$TP_SRC/tests/mounted/lib.sh" installed
ok "a script runs from it" sh -c 'printf "#!/bin/sh\necho ran\n" >script && chmod +x script && test "$(./script)" = ran'
ok "tee -a" sh -c 'echo a | tee -a t >/dev/null; echo b | tee -a t >/dev/null; test "$(cat t)" = "a
b"'
ok "split and cat" sh -c 'split -b 100000 "$1" part. && cat part.* | cmp - "$1"' sh "$tree/a/b/large"
ok "find -newer, -delete" sh -c 'find . -name "part.*" -delete && ! ls part.* 2>/dev/null'
cd /
