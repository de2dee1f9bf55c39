# SPDX-License-Identifier: Apache-2.0
"""make_many.py DIR COUNT: makes so many empty files in DIR, and says when two are the same file."""
import os
import sys

os.chdir(sys.argv[1])
count = int(sys.argv[2])
seen = set()
for n in range(count):
    name = f"file{n}"
    os.mknod(name)
    seen.add(os.stat(name).st_ino)
sys.exit(0 if len(seen) == count else f"{len(seen)} inode numbers for {count} files")
