/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind -o, and the environment: bytes from outside, though from a friend. The first byte says where they come in. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_warning(const char *text, void *user)
{
	assert(text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tp_err err = {""};
	struct tp_options o;
	char *text, *shown;
	int r;

	if (size < 1)
		return 0;
	text = malloc(size);
	assert(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	r = tp_options_init(&o, &err);
	assert(r == 0);
	if (data[0] % 2) {
		const char *const environment[] = {text, "TIDEPOOL_HIGH=85", NULL};

		r = tp_options_environment(&o, environment, no_warning, NULL, &err);
	} else {
		r = tp_options_parse(&o, text, &err);
	}
	if (r == 0)
		r = tp_options_finish(&o, "/nonexistent", &err);
	if (r == 0) {
		assert(o.low_pct < o.high_pct && o.high_pct <= 100 && o.ram_bytes >= 16 << 20);
		r = tp_options_config(&o, &shown);
		assert(r == 0);
		free(shown);
		r = tp_options_fuse(&o, text, &shown);
		assert(r == 0);
		free(shown);
	} else {
		assert(err.text[0]);
	}
	tp_options_fini(&o);
	free(text);
	return 0;
}
