/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"

#include "columns.h"

#define LIBRARY "libdeflate.so.0"
#define LEVEL   6

#define NUMBER_MAX   10 /* bytes of 64 bits */
#define BLOCK_HEADER 8
#define BLOCK_BYTES  (BLOCK_HEADER + (size_t)COLUMNS_BLOCK * COLUMNS * NUMBER_MAX)

struct columns {
	FILE *out;
	void *library;
	struct libdeflate_compressor *compressor;
	__typeof__(&libdeflate_zlib_compress) run;
	__typeof__(&libdeflate_zlib_compress_bound) bound;
	__typeof__(&libdeflate_free_compressor) finish;
	__typeof__(&libdeflate_alloc_decompressor) start_unpacking;
	__typeof__(&libdeflate_gzip_decompress) unpack;
	__typeof__(&libdeflate_free_decompressor) finish_unpacking;
	uint64_t count;
	uint64_t written; /* events before those that are kept */
	uint8_t *bytes;   /* a block, before it is deflated */
	uint64_t rows[2 * COLUMNS_BLOCK][COLUMNS];
};

#define FIND(c, name) ((__typeof__(&(name)))dlsym((c)->library, #name))

CALLS_LIBRARY
static int find_library(struct columns *c, struct err *err)
{
	__typeof__(&libdeflate_alloc_compressor) start;

	c->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!c->library)
		return err_set(err, ENOSYS, "a page is packed by libdeflate: install libdeflate0");
	start = FIND(c, libdeflate_alloc_compressor);
	c->run = FIND(c, libdeflate_zlib_compress);
	c->bound = FIND(c, libdeflate_zlib_compress_bound);
	c->finish = FIND(c, libdeflate_free_compressor);
	c->start_unpacking = FIND(c, libdeflate_alloc_decompressor);
	c->unpack = FIND(c, libdeflate_gzip_decompress);
	c->finish_unpacking = FIND(c, libdeflate_free_decompressor);
	if (!start || !c->run || !c->bound || !c->finish || !c->start_unpacking || !c->unpack ||
	    !c->finish_unpacking)
		return err_set(err, ENOSYS, LIBRARY " does not deflate");
	c->compressor = start(LEVEL);
	return c->compressor ? 0 : err_sys(err, ENOMEM, "a page");
}

int columns_new(struct columns **columns, FILE *out, struct err *err)
{
	struct columns *c = calloc(1, sizeof(*c));
	int ret;

	*columns = NULL;
	if (!c)
		return err_sys(err, ENOMEM, "a page");
	c->out = out;
	c->bytes = malloc(BLOCK_BYTES);
	ret = c->bytes ? find_library(c, err) : err_sys(err, ENOMEM, "a page");
	if (ret) {
		columns_free(c);
		return ret;
	}
	*columns = c;
	return 0;
}

CALLS_LIBRARY
void columns_free(struct columns *c)
{
	if (!c)
		return;
	if (c->compressor)
		c->finish(c->compressor);
	if (c->library)
		dlclose(c->library);
	free(c->bytes);
	free(c);
}

/* Three bytes are four characters; what is missing of the last three is '='. */
void base64_write(FILE *out, const uint8_t *bytes, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[4096];
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		const uint32_t v = (uint32_t)bytes[i] << 16 |
				   (i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0) |
				   (i + 2 < len ? bytes[i + 2] : 0U);

		text[n++] = digits[v >> 18];
		text[n++] = digits[v >> 12 & 63];
		text[n++] = (char)(i + 1 < len ? digits[v >> 6 & 63] : '=');
		text[n++] = (char)(i + 2 < len ? digits[v & 63] : '=');
		if (n == sizeof(text)) {
			fwrite(text, 1, n, out);
			n = 0;
		}
	}
	fwrite(text, 1, n, out);
}

CALLS_LIBRARY
int columns_bytes(struct columns *c, const void *bytes, size_t len)
{
	const size_t room = c->bound(c->compressor, len);
	uint8_t *packed = malloc(room);
	size_t n;

	if (!packed)
		return -ENOMEM;
	n = c->run(c->compressor, bytes, len, packed, room);
	fputs("<script class=\"block\" type=\"text/plain\">", c->out);
	base64_write(c->out, packed, n);
	fputs("</script>\n", c->out);
	free(packed);
	return n ? 0 : -EIO;
}

CALLS_LIBRARY
char *columns_frame(const struct columns *c, const uint8_t *packed, size_t len)
{
	/* RFC 1952, 2.3.1: how long it is unpacked. */
	const size_t room = load_le32(packed + len - 4);
	struct libdeflate_decompressor *d = c->start_unpacking();
	char *text = malloc(room + 1);
	enum libdeflate_result result = LIBDEFLATE_BAD_DATA;

	if (d && text) {
		result = c->unpack(d, packed, len, text, room, NULL);
		text[room] = '\0';
	}
	if (d)
		c->finish_unpacking(d);
	if (!result)
		return text;
	free(text);
	return NULL;
}

static size_t put_number(uint8_t *to, uint64_t v)
{
	size_t n = 0;

	while (v > 127) {
		to[n++] = (uint8_t)(v | 128);
		v >>= 7;
	}
	to[n++] = (uint8_t)v;
	return n;
}

/* Writes the first @count of the rows that are kept. */
static int write_block(struct columns *c, size_t count)
{
	size_t n = BLOCK_HEADER;
	uint64_t last = 0;

	store_le32(c->bytes, (uint32_t)c->written);
	store_le32(c->bytes + 4, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		n += put_number(c->bytes + n, c->rows[i][AT] - last);
		last = c->rows[i][AT];
	}
	for (unsigned int column = AT + 1; column < COLUMNS; column++)
		for (size_t i = 0; i < count; i++)
			n += put_number(c->bytes + n, c->rows[i][column]);
	c->written += count;
	/* What is left are at most as many. */
	memmove(c->rows, c->rows + count, (size_t)(c->count - c->written) * sizeof(c->rows[0]));
	return columns_bytes(c, c->bytes, n);
}

int columns_add(struct columns *c, const uint64_t row[COLUMNS])
{
	int ret = 0;

	if (c->count - c->written == ARRAY_SIZE(c->rows))
		ret = write_block(c, COLUMNS_BLOCK);
	memcpy(c->rows[c->count++ - c->written], row, sizeof(c->rows[0]));
	return ret;
}

uint64_t columns_count(const struct columns *c)
{
	return c->count;
}

int columns_took(struct columns *c, uint64_t number, uint64_t took)
{
	if (number < c->written || number >= c->count)
		return -ENOENT;
	c->rows[number - c->written][TOOK] = took;
	return 0;
}

int columns_finish(struct columns *c)
{
	int ret = 0;

	while (!ret && c->written < c->count)
		ret = write_block(c, (size_t)MIN(c->count - c->written, (uint64_t)COLUMNS_BLOCK));
	return ret;
}
