/* SPDX-License-Identifier: Apache-2.0 */
/* A record of the ledger, as a STATE brings it that somebody else may have written: what is taken comes out as it went in. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "store/cleanup.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tp_autofree unsigned char *value = malloc(TP_RECORD_BYTES_MAX);
	struct tp_object *o, *again;
	size_t len;
	int r;

	assert(value);
	if (tp_record_decode(4711, data, size, &o) < 0)
		return 0;
	len = tp_record_encode(o, value);
	assert(len <= TP_RECORD_BYTES_MAX);
	r = tp_record_decode(4711, value, len, &again);
	assert(r == 0);
	/* Attributes come in the opposite order. */
	assert(again->mode == o->mode && tp_record_encode(again, value) == len);
	tp_object_free(again);
	tp_object_free(o);
	return 0;
}
