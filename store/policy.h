/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that can be set on objects and directories (pin, ttl, quota, depth, commit, ...): what a name, a step of the commit ladder and an attribute's text mean.
 * What is inherited, and from where, the tree knows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What publishes a name, from lax to strict. */
enum tp_commit { TP_COMMIT_UNSET, TP_COMMIT_LIVE, TP_COMMIT_CLOSE, TP_COMMIT_SUCCESS, TP_COMMIT_RENAME };

/* What is set on one object itself; UNSET values are inherited. */
struct tp_policy {
	uint64_t ttl_s;	      /* TP_POLICY_UNSET: inherited; 0: none */
	uint64_t quota_bytes; /* 0: none; directories only, not inherited */
	int32_t depth;	      /* -1: inherited */
	int8_t pin;	      /* -1: inherited, 0, 1 */
	uint8_t commit;	      /* enum tp_commit */
	char temp[64];	      /* streams: a glob of further temporary names; empty: none */
};

#define TP_POLICY_UNSET UINT64_MAX

void tp_policy_init(struct tp_policy *p);
/* Is anything set? */
bool tp_policy_any(const struct tp_policy *p);

/*
 * Sets key (without user.tidepool.) from text. -EOPNOTSUPP: no such key; -EINVAL: not a value of it. An empty text unsets. is_dir, is_stream: what the key is set on; a key that does not belong
 * there is -EINVAL.
 */
int tp_policy_set(
	struct tp_policy *p, const char *key, const char *text, size_t len, bool is_dir, bool is_stream);
/* What may be written to `tier`: "ram". -EOPNOTSUPP: a tier that there is not; -EINVAL. */
int tp_policy_check_tier(const char *text, size_t len);
/* The text of what is set, into buf; its length, -ENODATA when it is not set, -EOPNOTSUPP: no such key. */
int tp_policy_get(const struct tp_policy *p, const char *key, char *buf, size_t len);

const char *tp_commit_name(enum tp_commit c);

/* Is it a temporary name: leading dot, .tmp .part .partial at the end, .tmp. inside, or matching temp (a glob, may be empty)? */
bool tp_name_is_temporary(const char *name, size_t len, const char *temp);
/* May a sample or stream be called so? */
bool tp_name_is_sample(const char *name, size_t len);
/* Is it one of the dot names that a stream keeps for itself (.claim, .ack, ...)? */
bool tp_name_is_control(const char *name, size_t len);
