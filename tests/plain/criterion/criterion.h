/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for Criterion where Criterion cannot run: it maps memory at addresses that ThreadSanitizer keeps for
 * itself. Has what our tests use of Criterion, and runs each test in a process of its own, one after the other.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_options {
	void (*init)(void); /* before the test, in its process */
	void (*fini)(void); /* after it */
	double timeout;	    /* not kept here: the sanitizer makes everything slow */
	bool disabled;
};

struct plain_test {
	const char *suite, *name;
	void (*run)(void); /* NULL: these are the options of the whole suite */
	struct plain_options options;
	struct plain_test *next;
};

void plain_add(struct plain_test *t);
/* Says what does not hold, and ends the test unless it may go on. */
__attribute__((format(printf, 5, 6))) void plain_failed(
	bool go_on, const char *file, int line, const char *what, const char *fmt, ...);
__attribute__((format(printf, 1, 2), noreturn)) void plain_skip(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void plain_log(const char *fmt, ...);

#define PLAIN_ADD(id, ...)                                                                                   \
	static struct plain_test plain_test_##id = {__VA_ARGS__};                                            \
	__attribute__((constructor)) static void plain_add_##id(void)                                        \
	{                                                                                                    \
		plain_add(&plain_test_##id);                                                                 \
	}

#define Test(s, n, ...)                                                                                      \
	static void plain_run_##s##_##n(void);                                                               \
	PLAIN_ADD(s##_##n, .suite = #s, .name = #n, .run = plain_run_##s##_##n, .options = {__VA_ARGS__})    \
	static void plain_run_##s##_##n(void)

#define TestSuite(s, ...) PLAIN_ADD(suite_##s, .suite = #s, .options = {__VA_ARGS__})

#define PLAIN_CHECK(go_on, holds, what, ...)                                                                 \
	((holds) ? (void)0 : plain_failed(go_on, __FILE__, __LINE__, what, " " __VA_ARGS__))

#define cr_assert(x, ...) PLAIN_CHECK(false, x, #x, __VA_ARGS__)
#define cr_assert_not(x, ...) PLAIN_CHECK(false, !(x), "not " #x, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK(false, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_CHECK(false, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_CHECK(false, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_CHECK(false, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_CHECK(false, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_CHECK(false, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(a, ...) PLAIN_CHECK(false, (a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN_CHECK(false, (a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) PLAIN_CHECK(false, strcmp(a, b) == 0, #a " is the text " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                                                         \
	PLAIN_CHECK(false, strcmp(a, b) != 0, #a " is not the text " #b, __VA_ARGS__)
#define cr_assert_str_empty(a, ...) PLAIN_CHECK(false, !*(a), #a " is empty", __VA_ARGS__)
#define cr_assert_str_not_empty(a, ...) PLAIN_CHECK(false, *(a), #a " is not empty", __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                                                       \
	PLAIN_CHECK(false, memcmp(a, b, n) == 0, #a " is like " #b, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, n, ...)                                                                      \
	PLAIN_CHECK(false, memcmp(a, b, n) != 0, #a " is not like " #b, __VA_ARGS__)
#define cr_assert_fail(...) PLAIN_CHECK(false, false, "never here", __VA_ARGS__)
#define cr_expect(x, ...) PLAIN_CHECK(true, x, #x, __VA_ARGS__)
#define cr_expect_not(x, ...) PLAIN_CHECK(true, !(x), "not " #x, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) PLAIN_CHECK(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) PLAIN_CHECK(true, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) PLAIN_CHECK(true, strcmp(a, b) == 0, #a " is the text " #b, __VA_ARGS__)
#define cr_skip_test(...) plain_skip(" " __VA_ARGS__)
#define cr_log_info(...) plain_log(__VA_ARGS__)
#define cr_log_warn(...) plain_log(__VA_ARGS__)
#define cr_log_error(...) plain_log(__VA_ARGS__)
