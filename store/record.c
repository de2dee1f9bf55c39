/* SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void put_number(unsigned char *to, uint64_t v)
{
	v = htobe64(v);
	memcpy(to, &v, sizeof(v));
}

void tp_record_node_key(uint64_t ino, struct tp_record_key *ret)
{
	put_number(ret->bytes, ino);
	ret->len = 8;
}

void tp_record_name_key(uint64_t parent, const char *name, size_t len, struct tp_record_key *ret)
{
	put_number(ret->bytes, parent);
	memcpy(ret->bytes + 8, name, len);
	ret->len = 8 + len;
}

uint64_t tp_record_number(const void *bytes)
{
	uint64_t v;

	memcpy(&v, bytes, sizeof(v));
	return be64toh(v);
}

size_t tp_record_encode(const struct tp_object *o, void *value)
{
	struct tp_policy none;
	const struct tp_policy *p = &none;
	const struct tp_xattr *xattrs = o->extra ? o->extra->xattrs : NULL;
	size_t target_len = S_ISLNK(o->mode) ? strlen(o->target) : 0;
	struct tp_record_head head;
	uint16_t count = 0;
	char *at = value;

	tp_policy_init(&none);
	if (o->extra)
		p = &o->extra->policy;
	for (const struct tp_xattr *x = xattrs; x; x = x->next)
		count++;
	head = (struct tp_record_head){
		.version = TP_RECORD_VERSION,
		.commit = p->commit,
		.pin = p->pin,
		.mode = htole32(o->mode),
		.uid = htole32(o->uid),
		.gid = htole32(o->gid),
		.rdev = htole64(S_ISCHR(o->mode) || S_ISBLK(o->mode) ? o->rdev : 0),
		.atime_ns = htole64(o->atime_ns),
		.mtime_ns = htole64(o->mtime_ns),
		.ctime_ns = htole64(o->ctime_ns),
		.ttl_s = htole64(p->ttl_s),
		.quota_bytes = htole64(p->quota_bytes),
		.depth = (int32_t)htole32((uint32_t)p->depth),
		.target_len = htole16((uint16_t)target_len),
		.xattrs_count = htole16(count),
	};
	memcpy(head.temp, p->temp, sizeof(head.temp));
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	if (target_len)
		memcpy(at, o->target, target_len);
	at += target_len;
	for (const struct tp_xattr *x = xattrs; x; x = x->next) {
		struct tp_record_xattr rx = {htole16(x->name_len), htole16((uint16_t)x->value_len)};

		memcpy(at, &rx, sizeof(rx));
		memcpy(at + sizeof(rx), x->bytes, x->name_len + x->value_len);
		at += sizeof(rx) + x->name_len + x->value_len;
	}
	return (size_t)(at - (char *)value);
}

static int decode_xattrs(struct tp_object *o, const char *at, const char *end, unsigned count)
{
	for (; count > 0; count--) {
		struct tp_record_xattr rx;
		char name[UINT8_MAX + 1];
		int r;

		if ((size_t)(end - at) < sizeof(rx))
			return -EBADMSG;
		memcpy(&rx, at, sizeof(rx));
		at += sizeof(rx);
		rx.name_len = le16toh(rx.name_len);
		rx.value_len = le16toh(rx.value_len);
		if (rx.name_len > UINT8_MAX || rx.name_len < TP_RECORD_XATTR_NAME_MIN ||
			(size_t)(end - at) < (size_t)rx.name_len + rx.value_len || memchr(at, 0, rx.name_len))
			return -EBADMSG;
		memcpy(name, at, rx.name_len);
		name[rx.name_len] = 0;
		r = tp_object_set_xattr(o, name, at + rx.name_len, rx.value_len, 0);
		if (r < 0)
			return r == -ENOMEM ? r : -EBADMSG;
		at += rx.name_len + rx.value_len;
	}
	return at == end ? 0 : -EBADMSG;
}

static int decode_policy(struct tp_object *o, const struct tp_record_head *head)
{
	struct tp_policy p;

	tp_policy_init(&p);
	p.commit = head->commit;
	p.pin = head->pin;
	p.ttl_s = le64toh(head->ttl_s);
	p.quota_bytes = le64toh(head->quota_bytes);
	p.depth = (int32_t)le32toh((uint32_t)head->depth);
	memcpy(p.temp, head->temp, sizeof(p.temp));
	if (p.commit > TP_COMMIT_RENAME || p.pin < -1 || p.pin > 1 || p.temp[sizeof(p.temp) - 1])
		return -EBADMSG;
	if (!tp_policy_any(&p))
		return 0;
	if (!tp_object_extra(o))
		return -ENOMEM;
	o->extra->policy = p;
	return 0;
}

/* The types that are in the ledger. */
static bool is_recorded(uint32_t mode)
{
	return S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode) ||
	       S_ISBLK(mode);
}

int tp_record_decode(uint64_t ino, const void *value, size_t len, struct tp_object **ret)
{
	struct tp_record_head head;
	const char *at = value, *end = at + len;
	struct tp_object *o;
	uint16_t target_len;
	int r;

	if (len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, at, sizeof(head));
	at += sizeof(head);
	target_len = le16toh(head.target_len);
	if (head.version != TP_RECORD_VERSION || (size_t)(end - at) < target_len || target_len >= PATH_MAX ||
		le32toh(head.mode) > UINT16_MAX || !is_recorded(le32toh(head.mode)) ||
		(S_ISLNK(le32toh(head.mode)) ? target_len == 0 : target_len != 0) ||
		memchr(at, 0, target_len))
		return -EBADMSG;
	o = tp_object_new(ino, le32toh(head.mode), le32toh(head.uid), le32toh(head.gid), 0);
	if (!o)
		return -ENOMEM;
	o->recorded = true;
	o->atime_ns = le64toh(head.atime_ns);
	o->mtime_ns = le64toh(head.mtime_ns);
	o->ctime_ns = le64toh(head.ctime_ns);
	if (S_ISLNK(o->mode)) {
		o->target = strndup(at, target_len);
		if (!o->target) {
			tp_object_free(o);
			return -ENOMEM;
		}
	} else if (!S_ISDIR(o->mode)) {
		o->rdev = le64toh(head.rdev);
	}
	r = decode_policy(o, &head);
	if (r == 0)
		r = decode_xattrs(o, at + target_len, end, le16toh(head.xattrs_count));
	if (r < 0) {
		tp_object_free(o);
		return r;
	}
	*ret = o;
	return 0;
}
