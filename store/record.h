/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How directories, links and special files, and their attributes, are written into the ledger.
 *
 * TP_LEDGER_NODES: inode number, 8 bytes big endian -> struct tp_record_head, then a symbolic link's target, then for each attribute its
 * struct tp_record_xattr, name and value. TP_LEDGER_NAMES: the parent's number, 8 bytes big endian, and the name -> the inode number, 8 bytes big endian. Integers in
 * values are little endian.
 */
#pragma once

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "store/object.h"

#define TP_RECORD_VERSION 1

struct tp_record_head {
	uint8_t version;
	uint8_t commit; /* enum tp_commit */
	int8_t pin;
	uint8_t reserved;
	uint32_t mode, uid, gid;
	uint64_t rdev;
	uint64_t atime_ns, mtime_ns, ctime_ns;
	uint64_t ttl_s, quota_bytes;
	int32_t depth;
	uint16_t target_len;
	uint16_t xattrs_count;
	char temp[64];
};
_Static_assert(sizeof(struct tp_record_head) == 136, "the record's layout is fixed");

struct tp_record_xattr {
	uint16_t name_len, value_len;
};
_Static_assert(sizeof(struct tp_record_xattr) == 4, "the record's layout is fixed");

/* The shortest name of an attribute: "user." and one byte. */
#define TP_RECORD_XATTR_NAME_MIN 6u
/* The longest record. */
#define TP_RECORD_BYTES_MAX                                                                                  \
	(sizeof(struct tp_record_head) + PATH_MAX + TP_XATTR_BYTES_MAX +                                     \
		TP_XATTR_BYTES_MAX / TP_RECORD_XATTR_NAME_MIN * sizeof(struct tp_record_xattr))

struct tp_record_key {
	unsigned char bytes[8 + 255];
	size_t len;
};

void tp_record_node_key(uint64_t ino, struct tp_record_key *ret);
void tp_record_name_key(uint64_t parent, const char *name, size_t len, struct tp_record_key *ret);
uint64_t tp_record_number(const void *bytes);

/* value: TP_RECORD_BYTES_MAX. Returns the length. */
size_t tp_record_encode(const struct tp_object *o, void *value);
/* A new object. -EBADMSG: not a record, or of another version; -ENOMEM. */
int tp_record_decode(uint64_t ino, const void *value, size_t len, struct tp_object **ret);
