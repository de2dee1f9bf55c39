#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual and --help say the same: commands and how they are called, options and their defaults, and all of it within 80 columns.

usage: test_manual.py TIDEPOOL MANUAL
"""
import re
import subprocess
import sys

tidepool, manual_path = sys.argv[1:3]
manual = open(manual_path).read()
failed = 0


def check(right, what):
    global failed
    if not right:
        failed += 1
        print("not ok -", what)


def ran(*args):
    r = subprocess.run([tidepool, *args], capture_output=True, text=True)
    check(r.returncode == 0 and not r.stderr, "tidepool %s: exit %d, %s" % (" ".join(args), r.returncode, r.stderr))
    return r.stdout


def plain(text):
    """Without roff's fonts and escapes."""
    text = re.sub(r"\\f.", "", text)
    return text.replace("\\-", "-").replace('"', "")


def section(name):
    m = re.search(r"^\.SH %s$(.*?)(?=^\.SH |\Z)" % re.escape(name), manual, re.M | re.S)
    check(m, "the manual has a section " + name)
    return m.group(1) if m else ""


# Commands.
overview = ran("--help")
commands = re.findall(r"^  ([a-z]+) +\S", overview, re.M)
check(len(commands) >= 10, "--help lists the commands")
described = {}
for line in re.findall(r"^\.SS (.*)$", section("COMMANDS"), re.M):
    name, _, usage = plain(line).partition(" ")
    described[name] = usage
check(sorted(described) == sorted(commands), "commands in the manual: %s, in --help: %s" % (sorted(described), sorted(commands)))
pages = {c: ran(c, "--help") for c in commands}
for c in commands:
    first = pages[c].splitlines()[0]
    want = ("usage: tidepool %s %s" % (c, described.get(c, ""))).strip()
    check(first == want, "%s: the manual says '%s', --help says '%s'" % (c, want, first))
for name, text in [("", overview), *pages.items()]:
    for line in text.splitlines():
        check(len(line) <= 80, "--help of '%s' has a line of %d columns: %s" % (name, len(line), line))
        check(line == line.rstrip(), "--help of '%s' has blanks at the end of: %s" % (name, line))
    check(text.endswith("\n"), "--help of '%s' ends with a newline" % name)

# Options of mount: name, value, and the default in brackets at the end, if it is one word.
in_help = {}
text = pages.get("mount", "")
text = text[text.index("Options"):] if "Options" in text else ""
for m in re.finditer(r"^  (\S+) +(.*(?:\n {20,}.*)*)", text, re.M):
    head, words = m.group(1), " ".join(m.group(2).split())
    default = re.search(r"\((\S+)\)$", words)
    in_help[head] = default.group(1) if default else None
in_manual = {}
for entry in re.split(r"^\.TP\n", section("OPTIONS"), flags=re.M)[1:]:
    head, _, body = entry.partition("\n")
    head = plain(re.sub(r"^\.BI? ", "", head)).replace(" ", "")
    default = re.search(r"^Default:\n\.BR? (\S+)", body, re.M)
    in_manual[head] = default.group(1) if default else None
check(len(in_help) >= 15, "mount --help lists the options: %s" % in_help)
check(in_help.keys() == in_manual.keys(), "options only in one place: %s" % sorted(in_help.keys() ^ in_manual.keys()))
for o in in_help.keys() & in_manual.keys():
    check(in_help[o] == in_manual[o], "%s: default %s in --help, %s in the manual" % (o, in_help[o], in_manual[o]))

# The differences from POSIX that the conformance suite expects.
expected = []
for line in open(sys.argv[3]):
    if line.strip() and not line.startswith("#"):
        case, steps, _, reason = line.split(None, 3)
        expected.append((case, steps.replace(",", ", "), reason.strip()))
listed = []
for entry in re.split(r"^\.TP\n", section("DIFFERENCES FROM POSIX"), flags=re.M)[1:]:
    head, steps, body = re.sub(r"^\.S.*\n?", "", entry, flags=re.M).strip().split("\n", 2)
    listed.append((plain(head[3:]), plain(steps).strip("()"), body[0].lower() + body[1:].rstrip(".")))
check(len(expected) > 20, "the suite expects differences: %d" % len(expected))
for e in expected:
    check(e in [(c, s, r) for c, s, r in listed] or e in [(c, s, r[0].upper() + r[1:]) for c, s, r in listed],
        "the manual does not say of %s (%s): %s" % e)
check(len(listed) == len(expected), "the manual lists %d differences, the suite %d" % (len(listed), len(expected)))

# The version.
version = ran("version").split()[-1]
check('"tidepool %s"' % version in manual.splitlines()[1], "the manual is of version " + version)

print("%d commands, %d options, %d failed" % (len(commands), len(in_help), failed))
sys.exit(1 if failed else 0)
