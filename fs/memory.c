/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit may stand on any control group between ours and the root, so all of them are asked. What we see of the hierarchy begins at
 * the mount's own root (field 4 of mountinfo), which in a container is our group itself: that prefix is taken off our path first. A file
 * that is missing or says "max" is no limit, and so is the huge number that v1 has for none, since only what is less than the machine's
 * memory counts.
 */
#include "fs/memory.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a hierarchy that limits memory can be read. */
struct hierarchy {
	const char *limit_file;
	char root[PATH_MAX];  /* what part of the hierarchy the mount shows */
	char mount[PATH_MAX]; /* where */
	char group[PATH_MAX]; /* our group in the whole hierarchy; empty: not known */
};

static FILE *open_under(const char *root, const char *path)
{
	char name[3 * PATH_MAX];
	int n = snprintf(name, sizeof(name), "%s%s", root, path);

	return n < 0 || (size_t)n >= sizeof(name) ? NULL : fopen(name, "re");
}

static uint64_t machine_bytes(const char *root)
{
	FILE *f = open_under(root, "/proc/meminfo");
	char line[256];
	uint64_t kib = 0;

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) == 1)
			break;
	(void)fclose(f);
	return kib * 1024;
}

/* Does the comma-separated list have the word? */
static bool list_has(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == 0 || p[n] == ',' || isspace((unsigned char)p[n])))
			return true;
	return false;
}

/* Fills root and mount of both hierarchies from mountinfo; a mount that is not there stays empty. */
static void find_mounts(const char *root, struct hierarchy *v2, struct hierarchy *v1)
{
	FILE *f = open_under(root, "/proc/self/mountinfo");
	char *line = NULL;
	size_t size = 0;

	if (!f)
		return;
	while (getline(&line, &size, f) > 0) {
		char at_root[PATH_MAX], at[PATH_MAX], type[64], options[1024];
		char *rest = strstr(line, " - ");
		struct hierarchy *h;

		if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", at_root, at) != 2 ||
			sscanf(rest, " - %63s %*s %1023s", type, options) != 2)
			continue;
		if (strcmp(type, "cgroup2") == 0)
			h = v2;
		else if (strcmp(type, "cgroup") == 0 && list_has(options, "memory"))
			h = v1;
		else
			continue;
		if (h->mount[0])
			continue;
		memcpy(h->root, at_root, sizeof(h->root));
		memcpy(h->mount, at, sizeof(h->mount));
	}
	free(line);
	(void)fclose(f);
}

static void find_groups(const char *root, struct hierarchy *v2, struct hierarchy *v1)
{
	FILE *f = open_under(root, "/proc/self/cgroup");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	if (!f)
		return;
	while ((n = getline(&line, &size, f)) > 0) {
		char *controllers = strchr(line, ':'),
		     *group = controllers ? strchr(controllers + 1, ':') : NULL;
		struct hierarchy *h = NULL;

		if (!group)
			continue;
		if (line[n - 1] == '\n')
			line[n - 1] = 0;
		*controllers++ = 0;
		*group++ = 0;
		if (controllers[0] == 0)
			h = v2;
		else if (list_has(controllers, "memory"))
			h = v1;
		if (h)
			(void)snprintf(h->group, sizeof(h->group), "%s", group);
	}
	free(line);
	(void)fclose(f);
}

/* Asks our group and all above it; lowers *bytes and says why. */
static void apply(const char *root, struct hierarchy *h, uint64_t *bytes, char *why, size_t why_len)
{
	char *group = h->group;
	size_t prefix = strlen(h->root);

	if (!h->mount[0] || !group[0])
		return;
	if (strcmp(h->root, "/") != 0 && strncmp(group, h->root, prefix) == 0)
		group += prefix;
	for (;;) {
		char name[2 * PATH_MAX + 64], text[64];
		char *slash;
		FILE *f;

		(void)snprintf(name, sizeof(name), "%s%s/%s", h->mount, strcmp(group, "/") == 0 ? "" : group,
			h->limit_file);
		f = open_under(root, name);
		if (f) {
			uint64_t limit;

			if (fgets(text, sizeof(text), f) && sscanf(text, "%" SCNu64, &limit) == 1 &&
				limit < *bytes) {
				*bytes = limit;
				(void)snprintf(
					why, why_len, "the limit of cgroup %.200s", group[0] ? group : "/");
			}
			(void)fclose(f);
		}
		slash = strrchr(group, '/');
		if (!slash || (slash == group && slash[1] == 0))
			break;
		/* "/a" becomes "", which is asked as the root of what we see. */
		*slash = 0;
	}
}

uint64_t tp_memory_usable(const char *root, char *why, size_t why_len)
{
	struct hierarchy *v = calloc(2, sizeof(*v));
	uint64_t bytes = machine_bytes(root);

	(void)snprintf(why, why_len, "the machine's memory");
	if (!v || !bytes) {
		free(v);
		return bytes;
	}
	v[0].limit_file = "memory.max";
	v[1].limit_file = "memory.limit_in_bytes";
	find_mounts(root, &v[0], &v[1]);
	find_groups(root, &v[0], &v[1]);
	for (unsigned i = 0; i < 2; i++)
		apply(root, &v[i], &bytes, why, why_len);
	free(v);
	return bytes;
}
