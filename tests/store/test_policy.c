/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/policy.h"

enum where { OBJECT, DIRECTORY, STREAM };

static int set(struct tp_policy *p, const char *key, const char *text, enum where where)
{
	return tp_policy_set(p, key, text, strlen(text), where != OBJECT, where == STREAM);
}

static void is(const struct tp_policy *p, const char *key, const char *want)
{
	char buf[300];
	int n = tp_policy_get(p, key, buf, sizeof(buf));

	if (!want) {
		cr_assert_eq(n, -ENODATA, "%s", key);
		return;
	}
	cr_assert_eq(n, (int)strlen(want), "%s", key);
	cr_assert_str_eq(buf, want, "%s", key);
}

Test(policy, nothing_is_set_at_first_and_an_empty_text_unsets)
{
	static const struct {
		const char *key, *text;
		enum where where;
	} each[] = {
		{"commit", "live", DIRECTORY},
		{"commit", "rename", STREAM},
		{"pin", "0", OBJECT},
		{"pin", "1", DIRECTORY},
		{"depth", "0", OBJECT},
		{"depth", "65535", DIRECTORY},
		{"ttl", "0", OBJECT},
		{"ttl", "86400", DIRECTORY},
		{"quota", "4096", DIRECTORY},
		{"temp", "*.building", STREAM},
	};
	struct tp_policy p, none;

	tp_policy_init(&none);
	cr_assert_not(tp_policy_any(&none));
	for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
		tp_policy_init(&p);
		is(&p, each[i].key, NULL);
		cr_assert_eq(set(&p, each[i].key, each[i].text, each[i].where), 0, "%s", each[i].key);
		cr_assert(tp_policy_any(&p), "%s", each[i].key);
		is(&p, each[i].key, each[i].text);
		cr_assert_eq(set(&p, each[i].key, "", each[i].where), 0);
		is(&p, each[i].key, NULL);
		cr_assert_not(tp_policy_any(&p), "%s", each[i].key);
		cr_assert_eq(memcmp(&p.ttl_s, &none.ttl_s, sizeof(p.ttl_s)), 0);
	}
}

Test(policy, a_key_is_refused_where_it_does_not_belong)
{
	struct tp_policy p;

	tp_policy_init(&p);
	cr_assert_eq(set(&p, "commit", "live", OBJECT), -EINVAL);
	cr_assert_eq(set(&p, "commit", "live", STREAM), -EINVAL);
	cr_assert_eq(set(&p, "quota", "1", OBJECT), -EINVAL);
	cr_assert_eq(set(&p, "quota", "1", STREAM), -EINVAL);
	cr_assert_eq(set(&p, "temp", "*", DIRECTORY), -EINVAL);
	cr_assert_eq(set(&p, "pin", "1", STREAM), -EINVAL);
	cr_assert_eq(set(&p, "ttl", "1", STREAM), -EINVAL);
	cr_assert_eq(set(&p, "colour", "red", DIRECTORY), -EOPNOTSUPP);
	cr_assert_eq(set(&p, "", "red", DIRECTORY), -EOPNOTSUPP);
	cr_assert_eq(tp_policy_get(&p, "colour", NULL, 0), -EOPNOTSUPP);
	cr_assert_not(tp_policy_any(&p));
}

Test(policy, what_is_no_value_changes_nothing)
{
	static const struct {
		const char *key, *text;
	} wrong[] = {{"pin", "2"}, {"pin", "yes"}, {"pin", "-1"}, {"depth", "65536"}, {"depth", "-1"},
		{"ttl", "1h"}, {"ttl", "18446744073709551616"}, {"ttl", "18446744073709551615"},
		{"quota", "much"}, {"quota", "1KB"}, {"commit", "LIVE"}, {"commit", "unset"},
		{"commit", "live "}};
	char nul[] = {'1', 0, '1'}, longest[257];
	struct tp_policy p;

	tp_policy_init(&p);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert_eq(set(&p, wrong[i].key, wrong[i].text, DIRECTORY), -EINVAL, "%s=%s", wrong[i].key,
			wrong[i].text);
	cr_assert_eq(tp_policy_set(&p, "ttl", nul, sizeof(nul), true, false), -EINVAL);
	memset(longest, '*', sizeof(longest));
	cr_assert_eq(tp_policy_set(&p, "temp", longest, 256, true, true), -EINVAL);
	cr_assert_eq(tp_policy_set(&p, "temp", longest, sizeof(p.temp), true, true), -EINVAL);
	cr_assert_not(tp_policy_any(&p));
	cr_assert_eq(tp_policy_set(&p, "temp", longest, sizeof(p.temp) - 1, true, true), 0);
	cr_assert_eq(strlen(p.temp), sizeof(p.temp) - 1);
}

Test(policy, a_newline_at_the_end_does_not_count_and_sizes_have_units)
{
	struct tp_policy p;

	tp_policy_init(&p);
	cr_assert_eq(set(&p, "quota", "2M\n", DIRECTORY), 0);
	is(&p, "quota", "2097152");
	cr_assert_eq(set(&p, "pin", "1\n\n", DIRECTORY), 0);
	is(&p, "pin", "1");
	cr_assert_eq(set(&p, "pin", "\n", DIRECTORY), 0);
	is(&p, "pin", NULL);
	cr_assert_eq(set(&p, "quota", "0", DIRECTORY), 0);
	is(&p, "quota", NULL);
}

Test(policy, the_steps_have_their_names)
{
	cr_assert_str_eq(tp_commit_name(TP_COMMIT_LIVE), "live");
	cr_assert_str_eq(tp_commit_name(TP_COMMIT_CLOSE), "close");
	cr_assert_str_eq(tp_commit_name(TP_COMMIT_SUCCESS), "success");
	cr_assert_str_eq(tp_commit_name(TP_COMMIT_RENAME), "rename");
}

static bool temporary(const char *name, const char *temp)
{
	return tp_name_is_temporary(name, strlen(name), temp);
}

Test(policy, temporary_names_are_told_by_dot_suffix_and_infix)
{
	static const char *const yes[] = {".x", ".", "x.tmp", "x.part", "x.partial", "x.tmp.1", "a.tmp.b.c"};
	static const char *const no[] = {
		"x", "tmp", "part", "xtmp", "x.tmpx", "x.TMP", "x.parts", "tmp.x", "x.tm"};

	for (unsigned i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		cr_assert(temporary(yes[i], NULL), "%s", yes[i]);
	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		cr_assert_not(temporary(no[i], ""), "%s", no[i]);
	cr_assert(temporary("x.building", "*.building"));
	cr_assert_not(temporary("x.built", "*.building"));
	/* The name ends where it is said to end. */
	cr_assert_not(tp_name_is_temporary("x.tmp", 3, NULL));
	cr_assert_not(tp_name_is_temporary("x.tmp.y", 1, NULL));
	cr_assert_not(tp_name_is_temporary("xx.building", 2, "*.building"));
}

Test(policy, sample_names_travel_as_lines)
{
	static const char *const no[] = {"", ".x", "#x", " x", "x ", "a\nb", "a\tb", "\x7f", "a\x01"};
	static const char *const yes[] = {"x", "a b", "a.b", "x#", "\xc3\xa4", "\xff", "-"};

	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		cr_assert_not(tp_name_is_sample(no[i], strlen(no[i])), "%u", i);
	for (unsigned i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		cr_assert(tp_name_is_sample(yes[i], strlen(yes[i])), "%u", i);
}

Test(policy, control_names_are_those_of_a_stream)
{
	static const char *const yes[] = {".claim", ".claim.5", ".claimed", ".part", ".ack", ".done",
		".resume", ".back", ".failed", ".end", ".rewind", ".state"};
	static const char *const no[] = {".claim.", ".claims", ".ackx", "ack", ".x", ""};

	for (unsigned i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		cr_assert(tp_name_is_control(yes[i], strlen(yes[i])), "%s", yes[i]);
	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		cr_assert_not(tp_name_is_control(no[i], strlen(no[i])), "%s", no[i]);
}
