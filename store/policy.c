/* SPDX-License-Identifier: Apache-2.0 */
#include "store/policy.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/size.h"

enum value_kind { VALUE_COMMIT, VALUE_PIN, VALUE_DEPTH, VALUE_SECONDS, VALUE_BYTES, VALUE_TEMP };
enum { ON_OBJECT = 1, ON_DIR = 2, ON_STREAM = 4 };

static const struct key {
	const char *name;
	enum value_kind kind;
	size_t offset;
	unsigned where;
} keys[] = {
	{"commit", VALUE_COMMIT, offsetof(struct tp_policy, commit), ON_DIR | ON_STREAM},
	{"pin", VALUE_PIN, offsetof(struct tp_policy, pin), ON_OBJECT | ON_DIR},
	{"depth", VALUE_DEPTH, offsetof(struct tp_policy, depth), ON_OBJECT | ON_DIR},
	{"ttl", VALUE_SECONDS, offsetof(struct tp_policy, ttl_s), ON_OBJECT | ON_DIR},
	{"quota", VALUE_BYTES, offsetof(struct tp_policy, quota_bytes), ON_DIR},
	{"temp", VALUE_TEMP, offsetof(struct tp_policy, temp), ON_STREAM},
};

static const char *const commit_names[] = {
	[TP_COMMIT_UNSET] = "",
	[TP_COMMIT_LIVE] = "live",
	[TP_COMMIT_CLOSE] = "close",
	[TP_COMMIT_SUCCESS] = "success",
	[TP_COMMIT_RENAME] = "rename",
};

void tp_policy_init(struct tp_policy *p)
{
	*p = (struct tp_policy){.ttl_s = TP_POLICY_UNSET, .depth = -1, .pin = -1};
}

bool tp_policy_any(const struct tp_policy *p)
{
	return p->ttl_s != TP_POLICY_UNSET || p->quota_bytes || p->depth >= 0 || p->pin >= 0 || p->commit ||
	       p->temp[0];
}

const char *tp_commit_name(enum tp_commit c)
{
	return commit_names[c];
}

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9' || v > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*c - '0');
	}
	if (v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int parse_commit(const char *text, bool is_stream, uint8_t *ret)
{
	for (unsigned c = TP_COMMIT_LIVE; c <= TP_COMMIT_RENAME; c++) {
		if (strcmp(text, commit_names[c]) != 0)
			continue;
		if (c == TP_COMMIT_LIVE && is_stream)
			return -EINVAL;
		*ret = (uint8_t)c;
		return 0;
	}
	return -EINVAL;
}

static int set_value(struct tp_policy *p, const struct key *k, const char *text, bool is_stream)
{
	void *at = (char *)p + k->offset;
	uint64_t v = 0;
	int r = 0;

	switch (k->kind) {
	case VALUE_COMMIT:
		return parse_commit(text, is_stream, at);
	case VALUE_PIN:
		r = parse_number(text, 1, &v);
		if (r == 0)
			*(int8_t *)at = (int8_t)v;
		return r;
	case VALUE_DEPTH:
		r = parse_number(text, UINT16_MAX, &v);
		if (r == 0)
			*(int32_t *)at = (int32_t)v;
		return r;
	case VALUE_SECONDS:
		r = parse_number(text, UINT32_MAX, &v);
		if (r == 0)
			*(uint64_t *)at = v;
		return r;
	case VALUE_BYTES:
		r = tp_size_parse(text, &v);
		if (r == 0)
			*(uint64_t *)at = v;
		return r;
	case VALUE_TEMP:
		if (strlen(text) >= sizeof(p->temp))
			return -EINVAL;
		strcpy(at, text);
		return 0;
	}
	return -EOPNOTSUPP;
}

static void unset_value(struct tp_policy *p, const struct key *k)
{
	struct tp_policy none;
	static const size_t widths[] = {
		[VALUE_COMMIT] = sizeof(none.commit),
		[VALUE_PIN] = sizeof(none.pin),
		[VALUE_DEPTH] = sizeof(none.depth),
		[VALUE_SECONDS] = sizeof(none.ttl_s),
		[VALUE_BYTES] = sizeof(none.quota_bytes),
		[VALUE_TEMP] = sizeof(none.temp),
	};

	tp_policy_init(&none);
	memcpy((char *)p + k->offset, (char *)&none + k->offset, widths[k->kind]);
}

int tp_policy_set(
	struct tp_policy *p, const char *key, const char *text, size_t len, bool is_dir, bool is_stream)
{
	const struct key *k = find_key(key);
	unsigned where = is_stream ? ON_STREAM : is_dir ? ON_DIR : ON_OBJECT;
	char copy[256];

	if (!k)
		return -EOPNOTSUPP;
	if (!(k->where & where) || len >= sizeof(copy) || memchr(text, 0, len))
		return -EINVAL;
	memcpy(copy, text, len);
	/* echo and heredocs end what they write with a newline. */
	while (len > 0 && copy[len - 1] == '\n')
		len--;
	copy[len] = 0;
	if (len == 0) {
		unset_value(p, k);
		return 0;
	}
	return set_value(p, k, copy, is_stream);
}

int tp_policy_check_tier(const char *text, size_t len)
{
	if (len == 3 && memcmp(text, "ram", 3) == 0)
		return 0;
	return len == 3 && memcmp(text, "ssd", 3) == 0 ? -EOPNOTSUPP : -EINVAL;
}

int tp_policy_get(const struct tp_policy *p, const char *key, char *buf, size_t len)
{
	const struct key *k = find_key(key);
	const void *at;
	int n = -ENODATA;

	if (!k)
		return -EOPNOTSUPP;
	at = (const char *)p + k->offset;
	switch (k->kind) {
	case VALUE_COMMIT:
		if (*(const uint8_t *)at)
			n = snprintf(buf, len, "%s", commit_names[*(const uint8_t *)at]);
		break;
	case VALUE_PIN:
		if (*(const int8_t *)at >= 0)
			n = snprintf(buf, len, "%d", *(const int8_t *)at);
		break;
	case VALUE_DEPTH:
		if (*(const int32_t *)at >= 0)
			n = snprintf(buf, len, "%d", *(const int32_t *)at);
		break;
	case VALUE_SECONDS:
		if (*(const uint64_t *)at != TP_POLICY_UNSET)
			n = snprintf(buf, len, "%" PRIu64, *(const uint64_t *)at);
		break;
	case VALUE_BYTES:
		if (*(const uint64_t *)at)
			n = snprintf(buf, len, "%" PRIu64, *(const uint64_t *)at);
		break;
	case VALUE_TEMP:
		if (*(const char *)at)
			n = snprintf(buf, len, "%s", (const char *)at);
		break;
	}
	return n;
}

static bool ends_with(const char *name, size_t len, const char *end)
{
	size_t end_len = strlen(end);

	return len > end_len && memcmp(name + len - end_len, end, end_len) == 0;
}

bool tp_name_is_temporary(const char *name, size_t len, const char *temp)
{
	char copy[256];

	if (name[0] == '.' || ends_with(name, len, ".tmp") || ends_with(name, len, ".part") ||
		ends_with(name, len, ".partial"))
		return true;
	if (len > 5 && memmem(name + 1, len - 1, ".tmp.", 5))
		return true;
	if (!temp || !*temp || len >= sizeof(copy))
		return false;
	memcpy(copy, name, len);
	copy[len] = 0;
	return fnmatch(temp, copy, FNM_PERIOD) == 0;
}

bool tp_name_is_sample(const char *name, size_t len)
{
	if (len == 0 || name[0] == '.' || name[0] == '#' || name[0] == ' ' || name[len - 1] == ' ')
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return false;
	return true;
}

bool tp_name_is_control(const char *name, size_t len)
{
	static const char *const names[] = {".claim", ".claimed", ".part", ".ack", ".done", ".resume",
		".back", ".failed", ".end", ".rewind", ".state"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return true;
	return len > 7 && memcmp(name, ".claim.", 7) == 0;
}
