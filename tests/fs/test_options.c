/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/options.h"

/* No /proc and /sys are below it: the machine does not matter. */
#define NOWHERE "/nonexistent"

static unsigned warnings;
static char last_warning[256];

static void warn(const char *text, void *user)
{
	warnings++;
	(void)snprintf(last_warning, sizeof(last_warning), "%s", text);
}

/* The text of the error that the options give, "" when they are good. */
static const char *error_of(const char *const *environment, const char *text)
{
	static struct tp_err err;
	struct tp_options o;
	int r;

	err.text[0] = 0;
	warnings = 0;
	cr_assert_eq(tp_options_init(&o, &err), 0);
	r = environment ? tp_options_environment(&o, environment, warn, NULL, &err) : 0;
	if (r == 0)
		r = tp_options_parse(&o, text, &err);
	if (r == 0)
		r = tp_options_finish(&o, NOWHERE, &err);
	tp_options_fini(&o);
	cr_assert(r == 0 || (r == -EINVAL && err.text[0]), "%d %s", r, text);
	cr_assert_null(strchr(err.text, '\n'));
	return err.text;
}

static void parsed(struct tp_options *o, const char *text)
{
	struct tp_err err = {""};

	cr_assert_eq(tp_options_init(o, &err), 0);
	cr_assert_eq(tp_options_parse(o, text, &err), 0, "%s", err.text);
	cr_assert_eq(tp_options_finish(o, NOWHERE, &err), 0, "%s", err.text);
}

Test(options, defaults_are_those_of_the_manual)
{
	struct tp_options o;

	parsed(&o, "");
	cr_assert_eq(o.ram_bytes, UINT64_C(4) << 30);
	cr_assert_eq(o.names_max, 1000000, "nothing could be read of the memory");
	cr_assert_eq(o.pool.count, 0);
	cr_assert_eq(o.hugepages, TP_HUGEPAGES_TRY);
	cr_assert(o.prefault);
	cr_assert_eq(o.high_pct, 90);
	cr_assert_eq(o.low_pct, 80);
	cr_assert_eq(o.drain_s, 20);
	cr_assert_eq(o.threads, 0);
	cr_assert_eq(o.journal_interval_ms, 500);
	cr_assert(o.default_permissions);
	cr_assert_not(o.read_only);
	cr_assert_not(o.allow_other);
	tp_options_fini(&o);
}

Test(options, sizes_take_one_letter)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"17", 17}, {"16K", 16384}, {"16k", 16384}, {"3M", 3145728},
		{"8G", UINT64_C(8) << 30}, {"2T", UINT64_C(2) << 40}, {"16777215T", UINT64_C(16777215) << 40},
		{"18446744073709551615", UINT64_MAX}};
	static const char *const bad[] = {"", "G", "-1", "+1", " 1", "1 ", "1.5G", "1KB", "1KK", "0x10", "1P",
		"18446744073709551616", "16777216T", "99999999999999999999G"};
	uint64_t bytes;
	char text[32];

	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++) {
		cr_assert_eq(tp_size_parse(good[i].text, &bytes), 0, "%s", good[i].text);
		cr_assert_eq(bytes, good[i].bytes, "%s", good[i].text);
		cr_assert_eq(tp_size_parse(tp_size_text(bytes, text, sizeof(text)), &bytes), 0);
		cr_assert_eq(bytes, good[i].bytes, "%s", text);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_eq(tp_size_parse(bad[i], &bytes), -EINVAL, "'%s'", bad[i]);
}

Test(options, a_bad_value_is_a_sentence_that_names_it)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"ram=x", "ram=x is not a size"},
		{"ram=1K", "ram=1K is not between 16M and 15T"},
		{"ram", "ram needs a value: ram=SIZE"},
		{"ram=", "ram= is not a size"},
		{"high=101", "high=101 is not between 2 and 100"},
		{"high=1K", "not a whole number"},
		{"high=-1", "not a whole number"},
		{"low=99999999999999999999", "not a whole number"},
		{"low=90", "low=90 is not below high=90"},
		{"threads=0", "threads=0 is not between 1 and 64"},
		{"names=0", "names=0 is not between 1 and 4000000000"},
		{"drain=0", "drain=0 is not between 1 and"},
		{"hugepages=yes", "hugepages=yes is none of try|off|require"},
		{"hugepages=", "is none of"},
		{"hugepages=t", "is none of"},
		{"prefault=maybe", "neither on nor off"},
		{"pool=", "empty path"},
		{"pool=/proc/version", "pool=/proc/version is a file neither on tmpfs nor on hugetlbfs"},
		{"pool=/proc/version,ram=64M", "neither on tmpfs nor on hugetlbfs"},
		{"wet", "there is no option 'wet'"},
		{"noram", "there is no option 'noram'"},
		{"nopool=1", "there is no option 'nopool'"},
		{"ro,ram=64M,wet=1", "there is no option 'wet'"},
		{"subtype=x", "there is no option 'subtype': the type of a mount is fuse.tidepool"},
		{"fsname=x", "there is no option 'fsname': the source"},
		{"ro,remount", "there is no option 'remount': a mount cannot be changed: unmount"},
		{"dirsync", "there is no option 'dirsync': FUSE does not know it"},
		{"max_read=4096", "there is no option 'max_read'"},
		{"allow_root", "there is no option 'allow_root': allow_other"},
		{"auto_unmount", "there is no option 'auto_unmount': the next mount"},
		{"noauto_unmount", "there is no option 'noauto_unmount'"},
		{"ssd=/dev/sdz", "ssd=/dev/sdz needs the SSD tier, which this version does not have"},
		{"ssd", "needs the SSD tier"},
		{"ssd_size=1G", "needs the SSD tier"},
		{"degraded", "needs the SSD tier"},
		{"cluster=etcd://h:1/n", "needs the cluster"},
		{"node=a", "needs the cluster"},
		{"listen=0.0.0.0:1", "needs the cluster"},
		{"secret=f", "needs the cluster"},
		{"metrics=0.0.0.0:1", "needs the metrics endpoint"},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert(strstr(error_of(NULL, bad[i].text), bad[i].words), "'%s' gave '%s'", bad[i].text,
			error_of(NULL, bad[i].text));
}

Test(options, what_is_mounts_own_is_skipped)
{
	cr_assert_str_empty(error_of(NULL,
		"rw,defaults,nofail,_netdev,noauto,auto,user,nouser,users,owner,group,async,relatime,noatime,"
		"mand,nomand,iversion,noiversion,sync,async,symfollow,context=a,rootcontext=\"b,c\","
		"x-systemd.automount,x-mount.mkdir=0755,X-anything,comment=hello,,ssd=none,"));
}

Test(options, the_last_value_wins_and_pool_paths_add_up)
{
	struct tp_options o;

	parsed(&o, "ram=32M,ram=64M,ro,rw,allow_other,noallow_other,prefault=off,noexec,"
		   "default_permissions=no,pool=/a\\,b,pool=/c\\\\d");
	cr_assert_eq(o.ram_bytes, 64 << 20);
	cr_assert_not(o.read_only);
	cr_assert_not(o.allow_other);
	cr_assert_not(o.prefault);
	cr_assert_not(o.exec);
	cr_assert_not(o.default_permissions);
	cr_assert_eq(o.pool.count, 2);
	cr_assert_str_eq(o.pool.list[0], "/a,b");
	cr_assert_str_eq(o.pool.list[1], "/c\\d");
	cr_assert_null(o.pool.list[2]);
	tp_options_fini(&o);
}

/* What the pool's size becomes with files of these lengths, which UINT64_MAX ends; *ret_why what is wrong with them, or "". */
static uint64_t pool_of(const char *more, const uint64_t *lengths, const char **ret_why, bool *ret_as_is)
{
	static struct tp_err err;
	char text[256], *at = stpcpy(text, more);
	struct tp_options o;
	int fds[4], n = 0;
	uint64_t bytes;

	for (; lengths[n] != UINT64_MAX; n++) {
		fds[n] = memfd_create("pool", MFD_CLOEXEC);
		cr_assert(fds[n] >= 0 && ftruncate(fds[n], (off_t)lengths[n]) == 0);
		at += sprintf(at, ",pool=/proc/self/fd/%d", fds[n]);
	}
	err.text[0] = 0;
	cr_assert_eq(tp_options_init(&o, &err), 0);
	cr_assert_eq(tp_options_parse(&o, text, &err), 0);
	(void)tp_options_finish(&o, NOWHERE, &err);
	*ret_why = err.text;
	*ret_as_is = o.pool_as_is;
	bytes = o.ram_bytes;
	tp_options_fini(&o);
	while (n)
		(void)close(fds[--n]);
	return bytes;
}

#define POOL_OF(more, ...) pool_of(more, (const uint64_t[]){__VA_ARGS__, UINT64_MAX}, &why, &as_is)

Test(options, files_of_the_pool_give_the_size_that_they_have_unless_ram_says_otherwise)
{
	const uint64_t mib = 1 << 20;
	const char *why;
	bool as_is;

	cr_assert_eq(POOL_OF("", 64 * mib + 100), 64 * mib);
	cr_assert(as_is);
	cr_assert_eq(POOL_OF("", 64 * mib, 17 * mib + 4095), 81 * mib);
	cr_assert(as_is);
	cr_assert_eq(POOL_OF("ram=32M", 64 * mib), 32 * mib);
	cr_assert_not(as_is);
	cr_assert_eq(POOL_OF("ram=32M", 64 * mib, 0), 32 * mib);
	cr_assert_str_empty(why);
	cr_assert_eq(POOL_OF("", 0, 0), UINT64_C(4) << 30);
	cr_assert_not(as_is);
	(void)POOL_OF("", 64 * mib, 0);
	cr_assert(strstr(why, "some are empty"), "%s", why);
	(void)POOL_OF("", 5 * mib, 5 * mib);
	cr_assert(strstr(why, "less than 16M"), "%s", why);
	(void)POOL_OF("", 100);
	cr_assert(strstr(why, "less than 16M"), "%s", why);
	cr_assert_eq(POOL_OF("pool=/nonexistent", 64 * mib), 64 * mib);
	cr_assert_str_empty(why);
}

Test(options, the_command_line_wins_over_the_environment)
{
	const char *const environment[] = {"TIDEPOOL_RAM=32M", "TIDEPOOL_HIGH=70", "TIDEPOOL_LOW=60",
		"TIDEPOOL_RO=1", "TIDEPOOL_POOL=/a:/b", "TIDEPOOL_SSD=none", "RAM=1", "TIDEPOOL=x", NULL};
	struct tp_err err = {""};
	struct tp_options o;
	char *text;

	warnings = 0;
	cr_assert_eq(tp_options_init(&o, &err), 0);
	cr_assert_eq(tp_options_environment(&o, environment, warn, NULL, &err), 0, "%s", err.text);
	cr_assert_eq(o.pool.count, 2);
	cr_assert_eq(tp_options_parse(&o, "high=75,pool=/c,names=5000", &err), 0);
	cr_assert_eq(tp_options_finish(&o, NOWHERE, &err), 0);
	cr_assert_eq(o.names_max, 5000);
	cr_assert_eq(warnings, 0);
	cr_assert_eq(o.ram_bytes, 32 << 20);
	cr_assert_eq(o.high_pct, 75);
	cr_assert(o.read_only);
	cr_assert_eq(o.pool.count, 1);
	cr_assert_eq(tp_options_config(&o, &text), 0);
	cr_assert(strstr(text, "ram=32M  # environment\n"), "%s", text);
	cr_assert(strstr(text, "pool=/c  # command line\n"));
	cr_assert(strstr(text, "high=75  # command line\n"));
	cr_assert(strstr(text, "low=60  # environment\n"));
	cr_assert(strstr(text, "names=5000  # command line\n"));
	cr_assert(strstr(text, "ro=on  # environment\n"));
	cr_assert(strstr(text, "drain=20  # default\n"));
	cr_assert(strstr(text, "threads=auto  # default\n"));
	cr_assert(strstr(text, "hugepages=try  # default\n"));
	cr_assert(strstr(text, "ssd=none  # environment\n"));
	free(text);
	tp_options_fini(&o);
}

Test(options, an_unknown_name_in_the_environment_is_warned_about_and_a_bad_value_refused)
{
	const char *const unknown[] = {"TIDEPOOL_RAMM=1", "TIDEPOOL_=2", "TIDEPOOL_SPEED=3", NULL};
	const char *const bad[] = {"TIDEPOOL_DRAIN=soon", NULL};
	const char *const absent[] = {"TIDEPOOL_CLUSTER=etcd://x", NULL};

	cr_assert_str_empty(error_of(unknown, ""));
	cr_assert_eq(warnings, 3);
	cr_assert(strstr(last_warning, "TIDEPOOL_SPEED"), "%s", last_warning);
	cr_assert(strstr(error_of(bad, ""), "in the environment: the option drain=soon"));
	cr_assert(strstr(error_of(absent, ""), "needs the cluster"));
}

Test(options, labels_go_to_the_kernel_where_selinux_is_on)
{
	char root[] = "/tmp/tidepool-test-options.XXXXXX", command[256], *text;
	struct tp_err err = {""};
	struct tp_options o;

	cr_assert_not_null(mkdtemp(root));
	(void)snprintf(command, sizeof(command),
		"mkdir -p %s/sys/fs/selinux && : > %s/sys/fs/selinux/enforce", root, root);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(tp_options_init(&o, &err), 0);
	cr_assert_eq(tp_options_parse(
			     &o, "context=\"u:r:t:s0:c1,c2\",ro,fscontext=a:b:c:s0,pool=/x\"y,ram=32M", &err),
		0, "%s", err.text);
	cr_assert_eq(tp_options_finish(&o, root, &err), 0, "%s", err.text);
	cr_assert(o.read_only && o.ram_bytes == 32 << 20);
	cr_assert_eq(tp_options_fuse(&o, "/s", &text), 0);
	cr_assert_str_eq(text, "fsname=/s,subtype=tidepool,context=\"u:r:t:s0:c1\\,c2\",fscontext=a:b:c:s0");
	free(text);
	tp_options_fini(&o);
	(void)snprintf(command, sizeof(command), "rm -r %s", root);
	cr_assert_eq(system(command), 0);
}

Test(options, fuse_gets_what_is_fuses_and_state_as_source)
{
	struct tp_options o;
	char *text;

	parsed(&o, "allow_other,noexec,suid,dev,ro,nodefault_permissions");
	cr_assert_eq(tp_options_fuse(&o, "/srv/a,b\\c", &text), 0);
	cr_assert_str_eq(text, "fsname=/srv/a\\,b\\\\c,subtype=tidepool,allow_other,suid,dev,noexec");
	free(text);
	tp_options_fini(&o);
	parsed(&o, "sync,async,nosymfollow,context=\"u:r:t:s0\"");
	cr_assert_not(o.symfollow);
	cr_assert_eq(tp_options_fuse(&o, "/s", &text), 0);
	cr_assert_str_eq(text, "fsname=/s,subtype=tidepool");
	free(text);
	tp_options_fini(&o);
}
