/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "heap.h"
#include "store/cleanup.h"
#include "store/record.h"

static struct tp_object *full_directory(void)
{
	struct tp_object *o = tp_object_new(4711, S_IFDIR | 02751, 7, 8, 1111);
	struct tp_extra *x = tp_object_extra(o);

	o->atime_ns = 1;
	o->mtime_ns = UINT64_MAX;
	o->ctime_ns = 1234567890123456789;
	x->policy = (struct tp_policy){.ttl_s = 60,
		.quota_bytes = UINT64_C(1) << 40,
		.depth = 65535,
		.pin = 1,
		.commit = TP_COMMIT_RENAME,
		.temp = "*.x"};
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "value", 5, 0), 0);
	cr_assert_eq(tp_object_set_xattr(o, "user.empty", NULL, 0, 0), 0);
	return o;
}

static void encode(const struct tp_object *o, void **ret, size_t *ret_len)
{
	*ret = malloc(TP_RECORD_BYTES_MAX);
	*ret_len = tp_record_encode(o, *ret);
	cr_assert_leq(*ret_len, TP_RECORD_BYTES_MAX);
	cr_assert_geq(*ret_len, sizeof(struct tp_record_head));
}

Test(record, a_directory_comes_back_as_it_was)
{
	struct tp_object *o = full_directory(), *back;
	tp_autofree void *value = NULL;
	size_t len;
	char buf[16];

	encode(o, &value, &len);
	cr_assert_eq(tp_record_decode(4711, value, len, &back), 0);
	cr_assert_eq(back->node.id, 4711);
	cr_assert_eq(back->mode, o->mode);
	cr_assert_eq(back->uid, 7);
	cr_assert_eq(back->gid, 8);
	cr_assert_eq(back->atime_ns, 1);
	cr_assert_eq(back->mtime_ns, UINT64_MAX);
	cr_assert_eq(back->ctime_ns, 1234567890123456789);
	cr_assert_eq(back->extra->policy.ttl_s, 60);
	cr_assert_eq(back->extra->policy.quota_bytes, UINT64_C(1) << 40);
	cr_assert_eq(back->extra->policy.depth, 65535);
	cr_assert_eq(back->extra->policy.pin, 1);
	cr_assert_eq(back->extra->policy.commit, TP_COMMIT_RENAME);
	cr_assert_str_eq(back->extra->policy.temp, "*.x");
	cr_assert_eq(tp_object_get_xattr(back, "user.a", buf, sizeof(buf)), 5);
	cr_assert_eq(memcmp(buf, "value", 5), 0);
	cr_assert_eq(tp_object_get_xattr(back, "user.empty", buf, sizeof(buf)), 0);
	cr_assert(back->recorded);
	tp_object_free(o);
	tp_object_free(back);
}

Test(record, what_nothing_was_set_on_needs_nothing_extra)
{
	struct tp_object *o = tp_object_new(5, S_IFBLK | 0600, 0, 0, 9), *back;
	tp_autofree void *value = NULL;
	size_t len;

	o->rdev = 0x12345;
	encode(o, &value, &len);
	cr_assert_eq(len, sizeof(struct tp_record_head));
	cr_assert_eq(tp_record_decode(5, value, len, &back), 0);
	cr_assert_null(back->extra);
	cr_assert_eq(back->rdev, 0x12345);
	tp_object_free(o);
	tp_object_free(back);
}

Test(record, a_link_of_the_greatest_length_comes_back)
{
	struct tp_object *o = tp_object_new(5, S_IFLNK | 0777, 0, 0, 9), *back;
	tp_autofree void *value = NULL;
	size_t len;

	o->target = malloc(PATH_MAX);
	memset(o->target, 't', PATH_MAX);
	o->target[PATH_MAX - 1] = 0;
	encode(o, &value, &len);
	cr_assert_eq(tp_record_decode(5, value, len, &back), 0);
	cr_assert_str_eq(back->target, o->target);
	tp_object_free(o);
	tp_object_free(back);
}

Test(record, keys_sort_by_number_and_then_by_name)
{
	struct tp_record_key a, b;
	char name[255];

	tp_record_node_key(1, &a);
	tp_record_node_key(256, &b);
	cr_assert_eq(a.len, 8);
	cr_assert_lt(memcmp(a.bytes, b.bytes, 8), 0);
	cr_assert_eq(tp_record_number(b.bytes), 256);
	tp_record_node_key(UINT64_MAX, &b);
	cr_assert_eq(tp_record_number(b.bytes), UINT64_MAX);
	memset(name, 0xff, sizeof(name));
	tp_record_name_key(1, name, sizeof(name), &a);
	cr_assert_eq(a.len, 263);
	tp_record_name_key(2, "a", 1, &b);
	cr_assert_eq(b.len, 9);
	cr_assert_lt(memcmp(a.bytes, b.bytes, 9), 0);
}

Test(record, the_longest_one_fits)
{
	struct tp_object *o = tp_object_new(5, S_IFLNK | 0777, 0, 0, 9), *back;
	tp_autofree void *value = NULL;
	char name[8];
	unsigned i = 0;
	size_t len;

	o->target = malloc(PATH_MAX);
	memset(o->target, 't', PATH_MAX - 1);
	o->target[PATH_MAX - 1] = 0;
	/* Names that are as short as can be. */
	do
		(void)snprintf(name, sizeof(name), "user.%c", ' ' + ++i);
	while (i < 200 && tp_object_set_xattr(o, name, NULL, 0, 0) == 0);
	for (i = 0; tp_object_set_xattr(o, name, NULL, 0, 0) == 0; i++)
		(void)snprintf(name, sizeof(name), "user.%c%c", 'A' + i % 50, 'A' + i / 50);
	encode(o, &value, &len);
	cr_assert_eq(tp_record_decode(5, value, len, &back), 0);
	tp_object_free(o);
	tp_object_free(back);
}

/* A copy of exactly that length, so that reading beyond it is found. */
static int decode_copy(const void *value, size_t len)
{
	tp_autofree void *copy = malloc(len ? len : 1);
	struct tp_object *back = NULL;
	int r;

	memcpy(copy, value, len);
	r = tp_record_decode(5, copy, len, &back);
	if (r == 0)
		tp_object_free(back);
	return r;
}

Test(record, every_length_but_the_right_one_is_bad)
{
	struct tp_object *o = full_directory();
	tp_autofree char *longer = NULL;
	tp_autofree void *value = NULL;
	size_t len;

	encode(o, &value, &len);
	for (size_t n = 0; n < len; n++)
		cr_assert_eq(decode_copy(value, n), -EBADMSG, "%zu of %zu", n, len);
	longer = calloc(1, len + 1);
	memcpy(longer, value, len);
	cr_assert_eq(decode_copy(longer, len + 1), -EBADMSG);
	cr_assert_eq(decode_copy(value, len), 0);
	tp_object_free(o);
}

Test(record, bytes_that_changed_are_bad_or_harmless)
{
	struct tp_object *o = full_directory();
	tp_autofree unsigned char *value = NULL;
	struct tp_record_head head;
	void *encoded;
	size_t len;

	encode(o, &encoded, &len);
	value = encoded;
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			int r;

			value[i] ^= (unsigned char)(1 << bit);
			r = decode_copy(value, len);
			cr_assert(r == 0 || r == -EBADMSG);
			value[i] ^= (unsigned char)(1 << bit);
		}
	}
	memcpy(&head, value, sizeof(head));
	head.version++;
	cr_assert_eq(decode_copy(&head, sizeof(head)), -EBADMSG);
	head.version--;
	head.xattrs_count = 0;
	head.mode = S_IFREG | 0600;
	cr_assert_eq(decode_copy(&head, sizeof(head)), -EBADMSG, "files are not recorded");
	head.mode = S_IFLNK | 0777;
	cr_assert_eq(decode_copy(&head, sizeof(head)), -EBADMSG, "a link without a target");
	tp_object_free(o);
}

Test(record, every_allocation_that_fails_is_enomem)
{
	struct tp_object *o = full_directory(), *back;
	tp_autofree void *value = NULL;
	size_t len;
	unsigned n;

	encode(o, &value, &len);
	for (n = 1;; n++) {
		int r;

		heap_fail_at(n);
		r = tp_record_decode(5, value, len, &back);
		if (!heap_fail_off())
			break;
		cr_assert_eq(r, -ENOMEM, "%u", n);
	}
	cr_assert_geq(n, 5);
	tp_object_free(back);
	tp_object_free(o);
}
