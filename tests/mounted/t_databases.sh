#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Databases whose writer is killed: every commit that was answered is there when it is opened again.
. "$(dirname "$0")/lib.sh"
requires python3
python3 -c 'import sqlite3' 2>/dev/null || skip "this python3 has no sqlite3"

tp_mount -o ram=128M

# Commits numbers one by one, from where it is, and says each when it was answered.
cat >"$TP_DIR/sqlite_write.py" <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
c.execute("pragma journal_mode=" + sys.argv[2])
c.execute("pragma synchronous=full")
c.execute("create table if not exists t (n integer primary key, v text)")
n = c.execute("select coalesce(max(n), 0) from t").fetchone()[0]
while True:
    n += 1
    c.execute("begin immediate")
    c.execute("insert into t values (?, ?)", (n, str(n) * 300))
    c.execute("commit")
    print(n, flush=True)
PY
cat >"$TP_DIR/sqlite_check.py" <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=60)
assert c.execute("pragma integrity_check").fetchone()[0] == "ok"
rows = c.execute("select n, v from t order by n").fetchall()
assert [r[0] for r in rows] == list(range(1, len(rows) + 1)), rows[-3:]
assert all(v == str(n) * 300 for n, v in rows)
assert len(rows) >= int(sys.argv[2]), (len(rows), sys.argv[2])
PY

# said_more FILE COUNT: it has that many lines.
said_more()
{
	[ "$(wc -l <"$1")" -ge "$2" ]
}

# killed_after COUNT CMD...: runs it until it has answered so many commits, kills it, and sets $answered to the last.
killed_after()
{
	local count=$1 p
	shift
	: >"$TP_DIR/answers"
	"$@" >"$TP_DIR/answers" 2>"$TP_DIR/errors" &
	p=$!
	if ! eventually 120 said_more "$TP_DIR/answers" "$count"; then
		fail "$1 answers $count commits"
		sed 's/^/# /' "$TP_DIR/errors"
	fi
	kill -KILL $p
	wait $p 2>/dev/null
	answered=$(sed '/^[0-9]*$/!d' "$TP_DIR/answers" | tail -n 1)
}

for step in close live; do
	D=$MNT/cache/$step
	mkdir "$D"
	"$TIDEPOOL" set "$D" commit=$step
	for mode in wal:1 wal:7 wal:60 delete:1 delete:20 truncate:7 persist:7; do
		count=${mode#*:}
		mode=${mode%:*}
		killed_after "$count" python3 "$TP_DIR/sqlite_write.py" "$D/$mode.db" "$mode"
		ok "$step: SQLite, $mode: all of $answered commits are there" \
			python3 "$TP_DIR/sqlite_check.py" "$D/$mode.db" "$answered"
	done
	for count in 1 5 80; do
		killed_after $count "$TP_BUILD/tests/storm/tp-lmdb" write "$D/lmdb" 100000
		ok "$step: LMDB: all of $answered commits are there" "$TP_BUILD/tests/storm/tp-lmdb" check "$D/lmdb" "$answered"
	done
done
