/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target over the files given as arguments (a directory: the files in it), for builds without
 * libFuzzer. Each input lies in memory of its own length, so that AddressSanitizer sees a read behind it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	FILE *in = fopen(path, "rbe");
	struct stat st;
	uint8_t *data;
	size_t size;

	if (!in || fstat(fileno(in), &st) < 0) {
		perror(path);
		if (in)
			(void)fclose(in);
		return 1;
	}
	size = (size_t)st.st_size;
	data = malloc(size + !size);
	if (!data || fread(data, 1, size, in) != size) {
		perror(path);
		free(data);
		(void)fclose(in);
		return 1;
	}
	(void)fclose(in);
	(void)LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

static int run_directory(const char *path, unsigned *count)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char file[4096];
	int bad = 0;

	if (!d) {
		perror(path);
		return 1;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		bad |= run_file(file);
		(*count)++;
	}
	(void)closedir(d);
	return bad;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	struct stat st;
	int bad = 0;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
			bad |= run_directory(argv[i], &count);
			continue;
		}
		bad |= run_file(argv[i]);
		count++;
	}
	/* A test that ran over nothing has shown nothing. */
	if (!count) {
		(void)fprintf(stderr, "%s: no inputs\n", argv[0]);
		return 1;
	}
	return bad;
}
