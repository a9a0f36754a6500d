/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Payloads of every kind, from the tools that a kernel's build calls and from the libraries:
 * unpacked, and then lying about their length, cut off, mutated, and wanting too much memory. What
 * is unpacked ends at a page that nothing may touch.
 */
#include "support/cm.h"

#include <bzlib.h>
#include <dlfcn.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"

#include "../../src/boot/unpack.h"
#include "unpack_fixture.h"

#define LZ4_PIECE MIB(8)
#define LZO_PIECE KIB(256)
#define PAGE      4096

/* The linker gives the loader these for dlopen() and dlsym() (tests/CMakeLists.txt). */
void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags);
void *__real_dlsym(void *library, const char *name);
void *__wrap_dlsym(void *library, const char *name);

static bool no_library, no_function;

void *__wrap_dlopen(const char *name, int flags)
{
	return no_library ? NULL : __real_dlopen(name, flags);
}

void *__wrap_dlsym(void *library, const char *name)
{
	return no_function ? NULL : __real_dlsym(library, name);
}

/* Text with calls in it, which xz and lzma treat apart in a kernel. */
static void fill(uint8_t *p, size_t len)
{
	static const char text[] = "skep unpacks";

	for (size_t i = 0; i < len; i++) {
		if (i % 16 == 0)
			p[i] = 0xe8;
		else if (i % 16 < 5)
			p[i] = (uint8_t)((i / 16 * 37) >> (8 * (i % 16 - 1)));
		else
			p[i] = (uint8_t)text[(i + i / 64) % 12];
	}
}

static uint32_t draw(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
	return (uint32_t)(*seed >> 32);
}

/* Nothing compresses this. */
static void fill_noise(uint8_t *p, size_t len)
{
	uint64_t seed = 7;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)draw(&seed);
}

static void *alloc(size_t len)
{
	void *p = malloc(len ? len : 1);

	assert_non_null(p);
	return p;
}

/* --- Compressors, as the kernel's build uses them. --- */

static size_t pack_gzip(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(9);
	size_t n = libdeflate_gzip_compress(c, in, len, out, room);

	libdeflate_free_compressor(c);
	return n;
}

static size_t pack_bzip2(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	unsigned int n = (unsigned int)room;

	assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out, &n, (char *)(uintptr_t)in,
						  (unsigned int)len, 9, 0, 0),
			 BZ_OK);
	return n;
}

static size_t pack_xz(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	lzma_options_lzma options;
	lzma_filter filters[] = {
		{LZMA_FILTER_X86, NULL},
		{LZMA_FILTER_LZMA2, &options},
		{LZMA_VLI_UNKNOWN, NULL},
	};
	size_t n = 0;

	lzma_lzma_preset(&options, 1);
	assert_int_equal(
		lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, in, len, out, &n, room),
		LZMA_OK);
	return n;
}

static size_t pack_lzma(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_options_lzma options;

	lzma_lzma_preset(&options, 1);
	assert_int_equal(lzma_alone_encoder(&s, &options), LZMA_OK);
	s.next_in = in;
	s.avail_in = len;
	s.next_out = out;
	s.avail_out = room;
	assert_int_equal(lzma_code(&s, LZMA_FINISH), LZMA_STREAM_END);
	lzma_end(&s);
	return room - s.avail_out;
}

static void store_be32(uint8_t *p, size_t v)
{
	const uint32_t be = htobe32((uint32_t)v);

	memcpy(p, &be, sizeof(be));
}

static size_t pack_lzo(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	/* The header of the tool's stream; a block's checksum is not looked at. */
	const size_t header = 38;
	void *scratch = alloc(LZO1X_1_MEM_COMPRESS);
	size_t at = header;

	memcpy(out, by_lzo, header);
	for (size_t done = 0; done < len; done += LZO_PIECE) {
		const size_t piece = MIN(len - done, LZO_PIECE);
		lzo_uint n = room - at;

		lzo1x_1_compress(in + done, piece, out + at + 12, &n, scratch);
		if (n >= piece) {
			n = piece;
			memcpy(out + at + 12, in + done, piece);
		}
		store_be32(out + at, piece);
		store_be32(out + at + 4, n);
		store_be32(out + at + 8, 0);
		at += 12 + n;
	}
	store_be32(out + at, 0);
	free(scratch);
	return at + 4;
}

static size_t pack_lz4(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	size_t at = 4;

	memcpy(out, "\x02\x21\x4c\x18", 4);
	for (size_t done = 0; done < len; done += LZ4_PIECE) {
		const int n =
			LZ4_compress_default((const char *)in + done, (char *)out + at + 4,
					     (int)MIN(len - done, LZ4_PIECE), (int)(room - at - 4));

		assert_true(n > 0);
		store_le32(out + at, (uint32_t)n);
		at += 4 + (size_t)n;
	}
	return at;
}

static size_t pack_zstd(const uint8_t *in, size_t len, uint8_t *out, size_t room)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t n;

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	n = ZSTD_compress2(c, out, room, in, len);
	assert_false(ZSTD_isError(n));
	ZSTD_freeCCtx(c);
	return n;
}

static const struct kind {
	const char *name;
	const uint8_t *fixture; /* FIXTURE_LEN bytes of fill() */
	size_t fixture_len;
	size_t (*pack)(const uint8_t *in, size_t len, uint8_t *out, size_t room);
	size_t tail; /* behind the stream */
} kinds[] = {
	{"gzip", by_gzip, sizeof(by_gzip), pack_gzip, 0},
	{"bzip2", by_bzip2, sizeof(by_bzip2), pack_bzip2, 4},
	{"lzma", by_lzma, sizeof(by_lzma), pack_lzma, 4},
	{"xz", by_xz, sizeof(by_xz), pack_xz, 4},
	{"lzo", by_lzo, sizeof(by_lzo), pack_lzo, 4},
	{"lz4", by_lz4, sizeof(by_lz4), pack_lz4, 4},
	{"zstd", by_zstd, sizeof(by_zstd), pack_zstd, 4},
};

#define KINDS_END (kinds + ARRAY_SIZE(kinds))

/* A payload of @in, in memory of its own. */
static uint8_t *pack(const struct kind *k, const uint8_t *in, size_t len, size_t *packed)
{
	const size_t room = len + len / 8 + 1024;
	uint8_t *out = alloc(room);
	size_t n = k->pack(in, len, out, room - k->tail);

	assert_true(n && n <= room - k->tail);
	if (k->tail)
		store_le32(out + n, (uint32_t)len);
	*packed = n + k->tail;
	return out;
}

/* --- Memory for what is unpacked, up to a page that cannot be touched. --- */

struct guarded {
	uint8_t *map;
	size_t size;
	uint8_t *out;
};

static struct guarded guarded_new(size_t len)
{
	struct guarded g = {.size = align_up(len, PAGE) + PAGE};

	g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g.map != MAP_FAILED);
	assert_int_equal(mprotect(g.map + g.size - PAGE, PAGE, PROT_NONE), 0);
	g.out = g.map + g.size - PAGE - len;
	return g;
}

static void guarded_free(struct guarded *g)
{
	munmap(g->map, g->size);
}

static int into_guarded(const uint8_t *in, size_t len, size_t out_len, struct err *err)
{
	struct guarded g = guarded_new(out_len);
	int ret = unpack_bytes(in, len, g.out, out_len, err);

	guarded_free(&g);
	return ret;
}

static void expect(const uint8_t *payload, size_t len, const uint8_t *content, size_t content_len)
{
	struct guarded g = guarded_new(content_len);
	struct err err = {.text = ""};

	if (unpack_bytes(payload, len, g.out, content_len, &err))
		fail_msg("%s", err.text);
	assert_memory_equal(g.out, content, content_len);
	guarded_free(&g);
}

/* Block Header (xz file format, 3.1): size, flags, x86 filter, then LZMA2 with its dictionary. */
static void set_xz_dictionary(uint8_t *payload, uint8_t bits)
{
	const size_t header = 12, len = 4UL * payload[header];

	assert_int_equal(payload[header + 2], LZMA_FILTER_X86);
	assert_int_equal(payload[header + 4], LZMA_FILTER_LZMA2);
	payload[header + 6] = bits;
	store_le32(payload + header + len, lzma_crc32(payload + header, len, 0));
}

/* A copy of what the tool makes, for a test that is to take no 64 MiB a thousand times. */
static void copy_fixture(const struct kind *k, uint8_t copy[512])
{
	assert_true(k->fixture_len <= 512);
	memcpy(copy, k->fixture, k->fixture_len);
	if (!strcmp(k->name, "lzma"))
		store_le32(copy + 1, (uint32_t)KIB(64));
	if (!strcmp(k->name, "xz"))
		set_xz_dictionary(copy, 8); /* 64 KiB */
}

/* --- Tests. --- */

static void what_the_tools_make(void **state)
{
	uint8_t content[FIXTURE_LEN];

	(void)state;
	fill(content, sizeof(content));
	for (const struct kind *k = kinds; k < KINDS_END; k++)
		expect(k->fixture, k->fixture_len, content, sizeof(content));
}

static void short_long_and_noisy_contents(void **state)
{
	static const size_t lengths[] = {1, 255, LZO_PIECE, LZO_PIECE * 3 + 17};
	uint8_t *content = alloc(LZO_PIECE * 4), *payload;
	size_t len;

	(void)state;
	for (const struct kind *k = kinds; k < KINDS_END; k++)
		for (size_t i = 0; i < 2 * ARRAY_SIZE(lengths); i++) {
			(i % 2 ? fill : fill_noise)(content, lengths[i / 2]);
			payload = pack(k, content, lengths[i / 2], &len);
			expect(payload, len, content, lengths[i / 2]);
			free(payload);
		}
	free(content);
}

static void lz4_of_several_pieces(void **state)
{
	const size_t content_len = 2 * LZ4_PIECE + 5;
	const struct kind *lz4 = &kinds[5];
	uint8_t *content = alloc(content_len), *payload;
	size_t len;

	(void)state;
	fill(content, content_len);
	payload = pack(lz4, content, content_len, &len);
	expect(payload, len, content, content_len);
	/* A frame may start anew where a block would. */
	memmove(payload + 4, payload, len);
	expect(payload, len + 4, content, content_len);
	free(payload);
	free(content);
}

static void a_kernel_that_is_not_compressed(void **state)
{
	static const uint8_t elf[] = "\177ELF and the rest of it";
	struct err err;

	(void)state;
	expect(elf, sizeof(elf), elf, sizeof(elf));
	assert_int_equal(into_guarded(elf, sizeof(elf), sizeof(elf) - 1, &err), -ENOEXEC);
	assert_int_equal(into_guarded(elf, sizeof(elf), sizeof(elf) + 1, &err), -ENOEXEC);
}

static void payloads_that_lie_about_their_length(void **state)
{
	static const size_t lies[] = {0, 1, FIXTURE_LEN - 1, FIXTURE_LEN + 1, FIXTURE_LEN * 100};
	char want[128];
	struct err err;

	(void)state;
	for (const struct kind *k = kinds; k < KINDS_END; k++)
		for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
			assert_int_equal(into_guarded(k->fixture, k->fixture_len, lies[i], &err),
					 -ENOEXEC);
			if (lies[i] < FIXTURE_LEN)
				continue;
			snprintf(want, sizeof(want),
				 "the %s payload is 800 bytes unpacked and promises %zu", k->name,
				 lies[i]);
			assert_string_equal(err.text, want);
		}
	/* lz4 cannot tell this from damage. */
	for (const struct kind *k = kinds; k < KINDS_END; k++) {
		into_guarded(k->fixture, k->fixture_len, FIXTURE_LEN - 1, &err);
		snprintf(want, sizeof(want),
			 strcmp(k->name, "lz4") ? "the %s payload is more than the 799 bytes "
						  "unpacked that it promises"
						: "the %s payload is damaged",
			 k->name);
		assert_string_equal(err.text, want);
	}
}

/* At every byte, with the length behind what is left, as well as without. */
static void truncated_payloads(void **state)
{
	uint8_t whole[512], cut[512];
	struct err err;

	(void)state;
	for (const struct kind *k = kinds; k < KINDS_END; k++) {
		copy_fixture(k, whole);
		for (size_t len = 0; len < k->fixture_len - k->tail; len++) {
			int ret;

			memcpy(cut, whole, len);
			store_le32(cut + len, FIXTURE_LEN);
			ret = into_guarded(cut, len, FIXTURE_LEN, &err);
			assert_true(ret == -ENOEXEC || (ret == -ENOTSUP && len < 2));
			/* gzip's stream ends with it. */
			if (k->tail)
				ret = into_guarded(cut, len + 4, FIXTURE_LEN, &err);
			assert_true(ret == -ENOEXEC || (ret == -ENOTSUP && len < 2));
		}
	}
}

static void what_follows_a_stream_is_not_looked_at(void **state)
{
	uint8_t content[FIXTURE_LEN], longer[512];

	(void)state;
	fill(content, sizeof(content));
	for (const struct kind *k = kinds; k < KINDS_END; k++) {
		struct err err;

		memset(longer, 0xa5, sizeof(longer));
		memcpy(longer, k->fixture, k->fixture_len);
		if (strcmp(k->name, "lz4"))
			expect(longer, sizeof(longer), content, sizeof(content));
		else
			assert_int_equal(into_guarded(longer, sizeof(longer), FIXTURE_LEN, &err),
					 -ENOEXEC);
	}
}

static bool known_outcome(int ret)
{
	return !ret || ret == -ENOEXEC || ret == -ENOTSUP || ret == -ENOMEM;
}

static void mutated_payloads(void **state)
{
	uint64_t seed = 20;
	uint8_t bad[512];
	struct err err;

	(void)state;
	for (const struct kind *k = kinds; k < KINDS_END; k++)
		for (unsigned int i = 0; i < 500; i++) {
			copy_fixture(k, bad);
			for (uint32_t n = 1 + draw(&seed) % 4; n; n--)
				bad[2 + draw(&seed) % (k->fixture_len - 2)] = (uint8_t)draw(&seed);
			assert_true(known_outcome(
				into_guarded(bad, k->fixture_len, FIXTURE_LEN, &err)));
		}
}

static void bombs(void **state)
{
	const size_t content_len = MIB(16);
	uint8_t *content = calloc(1, content_len), *payload;
	struct err err;
	size_t len;

	(void)state;
	assert_non_null(content);
	for (const struct kind *k = kinds; k < KINDS_END; k++) {
		payload = pack(k, content, content_len, &len);
		assert_int_equal(into_guarded(payload, len, 4096, &err), -ENOEXEC);
		assert_int_equal(into_guarded(payload, len, content_len - 1, &err), -ENOEXEC);
		free(payload);
	}
	free(content);
}

static void dictionaries(void **state)
{
	uint8_t content[FIXTURE_LEN], lzma[sizeof(by_lzma)], xz[sizeof(by_xz)];
	struct err err;

	(void)state;
	fill(content, sizeof(content));
	memcpy(xz, by_xz, sizeof(xz));
	set_xz_dictionary(xz, 30); /* 128 MiB */
	expect(xz, sizeof(xz), content, sizeof(content));
	set_xz_dictionary(xz, 31); /* 192 MiB */
	assert_int_equal(into_guarded(xz, sizeof(xz), FIXTURE_LEN, &err), -ENOTSUP);
	assert_string_equal(err.text, "the xz payload needs a dictionary of more than 128 MiB");

	memcpy(lzma, by_lzma, sizeof(lzma));
	store_le32(lzma + 1, (uint32_t)MIB(128));
	expect(lzma, sizeof(lzma), content, sizeof(content));
	store_le32(lzma + 1, (uint32_t)MIB(192));
	assert_int_equal(into_guarded(lzma, sizeof(lzma), FIXTURE_LEN, &err), -ENOTSUP);
}

/* Fields of its header that lzop -9 does not write, or not so. */
static void other_lzop_headers(void **state)
{
	static const uint8_t name[] = {'v', 'm', 'l', 'i', 'n', 'u', 'x'};
	uint8_t content[FIXTURE_LEN], other[512];
	/* magic, version and method; level; flags; mode and times; the length of a name; it */
	const size_t flags = 17, times = 21, name_len = 33, checksum = 34;

	(void)state;
	fill(content, sizeof(content));
	assert_int_equal(by_lzo[name_len], 0);
	memcpy(other, by_lzo, checksum);
	other[name_len] = sizeof(name);
	memcpy(other + checksum, name, sizeof(name));
	memcpy(other + checksum + sizeof(name), by_lzo + checksum, sizeof(by_lzo) - checksum);
	expect(other, sizeof(by_lzo) + sizeof(name), content, sizeof(content));

	/* A filter's number follows the flags. */
	memcpy(other, by_lzo, times);
	other[flags + 2] |= 0x08;
	memset(other + times, 0, 4);
	memcpy(other + times + 4, by_lzo + times, sizeof(by_lzo) - times);
	expect(other, sizeof(by_lzo) + 4, content, sizeof(content));

	/* Before 0.940 there were no level and no upper half of the time. */
	memcpy(other, by_lzo, flags - 1);
	other[9] = 0x09;
	other[10] = 0x30;
	memcpy(other + flags - 1, by_lzo + flags, 12);
	memcpy(other + flags + 11, by_lzo + name_len, sizeof(by_lzo) - name_len);
	expect(other, sizeof(by_lzo) - 5, content, sizeof(content));
}

static void unknown_kinds(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(into_guarded((const uint8_t *)"", 0, 8, &err), -ENOTSUP);
	assert_int_equal(into_guarded((const uint8_t *)"not compressed", 14, 8, &err), -ENOTSUP);
	assert_string_equal(err.text, "the payload is compressed in a way that skep does not know");
}

static void hosts_without_the_library(void **state)
{
	struct err err;

	(void)state;
	for (const struct kind *k = kinds; k < KINDS_END; k++) {
		no_library = true;
		assert_int_equal(into_guarded(k->fixture, k->fixture_len, FIXTURE_LEN, &err),
				 -ENOSYS);
		assert_non_null(strstr(err.text, ": install lib"));
		no_library = false;
		no_function = true;
		assert_int_equal(into_guarded(k->fixture, k->fixture_len, FIXTURE_LEN, &err),
				 -ENOSYS);
		no_function = false;
	}
}

static void payloads_within_an_image(void **state)
{
	uint8_t content[FIXTURE_LEN], out[FIXTURE_LEN], file[1024];
	struct boot_image *img;
	struct err err;
	uint64_t size;

	(void)state;
	fill(content, sizeof(content));
	for (const struct kind *k = kinds; k < KINDS_END; k++) {
		memset(file, 0xcc, sizeof(file));
		memcpy(file + 100, k->fixture, k->fixture_len);
		assert_int_equal(
			boot_open_memory(&img, "kernel", "k", file, 100 + k->fixture_len, &err), 0);
		assert_int_equal(unpack_size(img, 100, k->fixture_len, &size, &err), 0);
		assert_int_equal(size, FIXTURE_LEN);
		memset(out, 0, sizeof(out));
		assert_int_equal(unpack(img, 100, k->fixture_len, out, sizeof(out), &err), 0);
		assert_memory_equal(out, content, sizeof(out));

		assert_int_equal(unpack(img, 101, k->fixture_len, out, sizeof(out), &err), -EIO);
		assert_string_equal(err.text, "kernel 'k' ends within its payload");
		assert_int_equal(unpack_size(img, 101, k->fixture_len, &size, &err), -EIO);
		assert_int_equal(unpack(img, 99, k->fixture_len, out, sizeof(out), &err), -ENOTSUP);
		assert_int_equal(unpack_size(img, 99, k->fixture_len, &size, &err), -ENOTSUP);
		assert_int_equal(unpack_size(img, 100, 3, &size, &err), -ENOTSUP);
		assert_int_equal(unpack(img, 100, k->fixture_len, out, 10, &err), -ENOEXEC);
		assert_non_null(strstr(err.text, "kernel 'k': the "));
		boot_close(img);
	}
}

static void an_uncompressed_payload_is_as_long_as_it_is(void **state)
{
	static const uint8_t elf[64] = "\177ELF";
	struct boot_image *img;
	struct err err;
	uint64_t size;

	(void)state;
	assert_int_equal(boot_open_memory(&img, "kernel", "k", elf, sizeof(elf), &err), 0);
	assert_int_equal(unpack_size(img, 0, sizeof(elf), &size, &err), 0);
	assert_int_equal(size, sizeof(elf));
	boot_close(img);
}

static void a_file_that_shrinks(void **state)
{
	char path[] = "/tmp/skep-unpack-XXXXXX";
	int fd = mkstemp(path);
	uint8_t out[FIXTURE_LEN];
	struct boot_image *img;
	struct err err;
	uint64_t size;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, by_zstd, sizeof(by_zstd)), sizeof(by_zstd));
	assert_int_equal(boot_open(&img, "kernel", path, &err), 0);
	assert_int_equal(unpack(img, 0, sizeof(by_zstd), out, sizeof(out), &err), 0);
	assert_int_equal(ftruncate(fd, sizeof(by_zstd) - 1), 0);
	assert_int_equal(unpack(img, 0, sizeof(by_zstd), out, sizeof(out), &err), -EIO);
	assert_int_equal(unpack_size(img, 0, sizeof(by_zstd), &size, &err), -EIO);
	boot_close(img);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_tools_make),
		cmocka_unit_test(short_long_and_noisy_contents),
		cmocka_unit_test(lz4_of_several_pieces),
		cmocka_unit_test(a_kernel_that_is_not_compressed),
		cmocka_unit_test(payloads_that_lie_about_their_length),
		cmocka_unit_test(truncated_payloads),
		cmocka_unit_test(what_follows_a_stream_is_not_looked_at),
		cmocka_unit_test(mutated_payloads),
		cmocka_unit_test(bombs),
		cmocka_unit_test(dictionaries),
		cmocka_unit_test(other_lzop_headers),
		cmocka_unit_test(unknown_kinds),
		cmocka_unit_test(hosts_without_the_library),
		cmocka_unit_test(payloads_within_an_image),
		cmocka_unit_test(an_uncompressed_payload_is_as_long_as_it_is),
		cmocka_unit_test(a_file_that_shrinks),
	};

	return cmocka_run_group_tests_name("unpack", tests, NULL, NULL);
}
