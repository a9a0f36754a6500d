/* SPDX-License-Identifier: BSD-2-Clause */
#include <bzlib.h>
#include <dlfcn.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"

#include "image.h"
#include "unpack.h"

/* What lies behind the stream in all kinds but gzip: how long it is unpacked. */
#define SIZE_LEN 4

/* The kernel's build asks xz for dictionaries of 32 to 128 MiB, lzma for 64. */
#define LZMA_MEMORY_MAX (MIB(128) + MIB(1))

/* lz4 -l cuts its input into pieces of this length, lzop into pieces of that. */
#define LZ4_BLOCK ((uint32_t)MIB(8))
#define LZO_BLOCK ((uint32_t)KIB(256))

#define HUGE_PAGE MIB(2)

/* A stream that is to be unpacked, and how far that went. */
struct work {
	void *library;
	const uint8_t *in;
	size_t len;
	uint8_t *out;
	size_t room;
	size_t made;
};

enum verdict {
	WHOLE, /* the stream came to its end */
	DAMAGED,
	TRUNCATED,
	LONGER, /* than there is room */
	NO_MEMORY,
	DICTIONARY,
	NO_FUNCTION,
};

#define FIND(work, name) ((__typeof__(&(name)))dlsym((work)->library, #name))

/* With huge pages it takes a few page faults instead of thousands to fill this. */
void *unpack_room(uint64_t len)
{
	void *p;

	if (len < HUGE_PAGE)
		return malloc(len ? len : 1);
	if (posix_memalign(&p, HUGE_PAGE, len))
		return NULL;
	madvise(p, len, MADV_HUGEPAGE);
	return p;
}

static void *lzma_take(void *opaque, size_t count, size_t len)
{
	size_t bytes;

	(void)opaque;
	return __builtin_mul_overflow(count, len, &bytes) ? NULL : unpack_room(bytes);
}

static void lzma_give(void *opaque, void *p)
{
	(void)opaque;
	free(p);
}

static enum verdict copy(struct work *w)
{
	if (w->len > w->room)
		return LONGER;
	memcpy(w->out, w->in, w->len);
	w->made = w->len;
	return WHOLE;
}

/* It looks at the checksum as well, which costs next to nothing. */
CALLS_LIBRARY
static enum verdict from_gzip(struct work *w)
{
	__typeof__(&libdeflate_alloc_decompressor) start = FIND(w, libdeflate_alloc_decompressor);
	__typeof__(&libdeflate_gzip_decompress_ex) run = FIND(w, libdeflate_gzip_decompress_ex);
	__typeof__(&libdeflate_free_decompressor) finish = FIND(w, libdeflate_free_decompressor);
	struct libdeflate_decompressor *d;
	enum libdeflate_result ret;
	size_t used;

	if (!start || !run || !finish)
		return NO_FUNCTION;
	d = start();
	if (!d)
		return NO_MEMORY;
	ret = run(d, w->in, w->len, w->out, w->room, &used, &w->made);
	finish(d);
	switch (ret) {
	case LIBDEFLATE_SUCCESS:
		return WHOLE;
	case LIBDEFLATE_INSUFFICIENT_SPACE:
		return LONGER;
	default:
		return DAMAGED;
	}
}

/* RFC 8878 streams are unpacked in one go, without a window of the library's. */
CALLS_LIBRARY
static enum verdict from_zstd(struct work *w)
{
	__typeof__(&ZSTD_findFrameCompressedSize) measure = FIND(w, ZSTD_findFrameCompressedSize);
	__typeof__(&ZSTD_decompress) run = FIND(w, ZSTD_decompress);
	__typeof__(&ZSTD_isError) failed = FIND(w, ZSTD_isError);
	__typeof__(&ZSTD_getErrorCode) code = FIND(w, ZSTD_getErrorCode);
	size_t ret;

	if (!measure || !run || !failed || !code)
		return NO_FUNCTION;
	/* As in the kernel: one frame, and no look at what follows. */
	ret = measure(w->in, w->len);
	if (!failed(ret))
		ret = run(w->out, w->room, w->in, ret);
	if (!failed(ret)) {
		w->made = ret;
		return WHOLE;
	}
	switch (code(ret)) {
	case ZSTD_error_dstSize_tooSmall:
		return LONGER;
	case ZSTD_error_srcSize_wrong:
		return TRUNCATED;
	case ZSTD_error_memory_allocation:
		return NO_MEMORY;
	default:
		return DAMAGED;
	}
}

CALLS_LIBRARY
static enum verdict run_lzma(struct work *w, lzma_stream *s)
{
	__typeof__(&lzma_code) run = FIND(w, lzma_code);
	lzma_ret ret = LZMA_OK;

	if (!run)
		return NO_FUNCTION;
	s->next_in = w->in;
	s->avail_in = w->len;
	s->next_out = w->out;
	s->avail_out = w->room;
	/* Without progress it says LZMA_BUF_ERROR the second time. */
	while (ret == LZMA_OK)
		ret = run(s, LZMA_FINISH);
	w->made = w->room - s->avail_out;
	switch (ret) {
	case LZMA_STREAM_END:
		return WHOLE;
	case LZMA_BUF_ERROR:
		return s->avail_out ? TRUNCATED : LONGER;
	case LZMA_MEMLIMIT_ERROR:
		return DICTIONARY;
	case LZMA_MEM_ERROR:
		return NO_MEMORY;
	default:
		return DAMAGED;
	}
}

CALLS_LIBRARY
static enum verdict from_xz(struct work *w)
{
	__typeof__(&lzma_stream_decoder) start = FIND(w, lzma_stream_decoder);
	__typeof__(&lzma_end) finish = FIND(w, lzma_end);
	const lzma_allocator memory = {.alloc = lzma_take, .free = lzma_give};
	lzma_stream s = LZMA_STREAM_INIT;
	enum verdict verdict = NO_MEMORY;

	if (!start || !finish)
		return NO_FUNCTION;
	s.allocator = &memory;
	if (start(&s, LZMA_MEMORY_MAX, 0) == LZMA_OK)
		verdict = run_lzma(w, &s);
	finish(&s);
	return verdict;
}

CALLS_LIBRARY
static enum verdict from_lzma(struct work *w)
{
	__typeof__(&lzma_alone_decoder) start = FIND(w, lzma_alone_decoder);
	__typeof__(&lzma_end) finish = FIND(w, lzma_end);
	const lzma_allocator memory = {.alloc = lzma_take, .free = lzma_give};
	lzma_stream s = LZMA_STREAM_INIT;
	enum verdict verdict = NO_MEMORY;

	if (!start || !finish)
		return NO_FUNCTION;
	s.allocator = &memory;
	if (start(&s, LZMA_MEMORY_MAX) == LZMA_OK)
		verdict = run_lzma(w, &s);
	finish(&s);
	return verdict;
}

/* BZ2_bzDecompress() with one byte more: whether the stream ends where the room does. */
static enum verdict judge_bzip2(int ret, const bz_stream *s, bool overflowed)
{
	switch (ret) {
	case BZ_STREAM_END:
		return overflowed ? LONGER : WHOLE;
	case BZ_OK:
		return overflowed || s->avail_in ? LONGER : TRUNCATED;
	case BZ_MEM_ERROR:
		return NO_MEMORY;
	default:
		return DAMAGED;
	}
}

CALLS_LIBRARY
static enum verdict from_bzip2(struct work *w)
{
	__typeof__(&BZ2_bzDecompressInit) start = FIND(w, BZ2_bzDecompressInit);
	__typeof__(&BZ2_bzDecompress) run = FIND(w, BZ2_bzDecompress);
	__typeof__(&BZ2_bzDecompressEnd) finish = FIND(w, BZ2_bzDecompressEnd);
	bz_stream s = {
		.next_in = (char *)(uintptr_t)w->in,
		.avail_in = (unsigned int)w->len,
		.next_out = (char *)w->out,
		.avail_out = (unsigned int)w->room,
	};
	bool overflowed = false;
	char beyond;
	int ret;

	if (!start || !run || !finish)
		return NO_FUNCTION;
	if (start(&s, 0, 0) != BZ_OK)
		return NO_MEMORY;
	ret = run(&s);
	w->made = w->room - s.avail_out;
	if (ret == BZ_OK && !s.avail_out) {
		s.next_out = &beyond;
		s.avail_out = 1;
		ret = run(&s);
		overflowed = !s.avail_out;
	}
	finish(&s);
	return judge_bzip2(ret, &s, overflowed);
}

/* What lzop writes in front of the blocks: their offset, or 0. Its checksum is not looked at. */
static size_t lzop_header(const uint8_t *in, size_t len)
{
	static const uint8_t magic[9] = {0x89, 'L', 'Z', 'O', 0, '\r', '\n', 0x1a, '\n'};
	/* version, library's version, version needed to extract, method */
	size_t at = sizeof(magic) + 2 + 2 + 2 + 1;
	bool modern;

	if (len < at + 1 + 4 || memcmp(in, magic, sizeof(magic)))
		return 0;
	modern = (in[9] << 8 | in[10]) >= 0x0940;
	/* level */
	at += modern;
	/* flags, of which one says that a filter follows */
	at += in[at + 2] & 0x08 ? 4 + 4 : 4;
	/* mode, time of modification, its upper half */
	at += modern ? 4 + 4 + 4 : 4 + 4;
	if (!range_fits(at, 1, len))
		return 0;
	/* name, checksum */
	at += 1UL + in[at] + 4;
	return at <= len ? at : 0;
}

static uint32_t load_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

/*
 * A block is its length unpacked, its length, a checksum, and the data, which is verbatim where it
 * could not be compressed. A length of 0 ends the stream. (lzop can be told to write two checksums,
 * or none; the kernel's build does not, and its unpacker takes one for granted.) The decompressor
 * has no state that lzo_init() would have to prepare.
 */
CALLS_LIBRARY
static enum verdict from_lzo(struct work *w)
{
	__typeof__(&lzo1x_decompress_safe) run = FIND(w, lzo1x_decompress_safe);
	size_t at = lzop_header(w->in, w->len);

	if (!run)
		return NO_FUNCTION;
	if (!at)
		return DAMAGED;
	for (;;) {
		uint32_t len, packed;
		lzo_uint made;

		if (!range_fits(at, 4, w->len))
			return TRUNCATED;
		len = load_be32(w->in + at);
		if (!len)
			return WHOLE;
		if (len > LZO_BLOCK)
			return DAMAGED;
		if (!range_fits(at, 12, w->len))
			return TRUNCATED;
		packed = load_be32(w->in + at + 4);
		at += 12;
		if (!packed || packed > len)
			return DAMAGED;
		if (!range_fits(at, packed, w->len))
			return TRUNCATED;
		if (len > w->room - w->made)
			return LONGER;
		made = len;
		if (packed == len)
			memcpy(w->out + w->made, w->in + at, len);
		else if (run(w->in + at, packed, w->out + w->made, &made, NULL) != LZO_E_OK ||
			 made != len)
			return DAMAGED;
		at += packed;
		w->made += len;
	}
}

/*
 * The legacy frame: a magic number, then blocks of at most 8 MiB unpacked, each behind its length.
 * It has no end but that of the data. Frames may follow one another.
 */
CALLS_LIBRARY
static enum verdict from_lz4(struct work *w)
{
	__typeof__(&LZ4_decompress_safe) run = FIND(w, LZ4_decompress_safe);
	static const uint8_t magic[4] = {0x02, 0x21, 0x4c, 0x18};
	size_t at = sizeof(magic);

	if (!run)
		return NO_FUNCTION;
	if (w->len < sizeof(magic) || memcmp(w->in, magic, sizeof(magic)))
		return DAMAGED;
	while (at < w->len) {
		uint32_t packed;
		int made;

		if (!range_fits(at, 4, w->len))
			return TRUNCATED;
		packed = load_le32(w->in + at);
		at += 4;
		if (packed == load_le32(magic))
			continue;
		if (packed > (uint32_t)LZ4_COMPRESSBOUND(LZ4_BLOCK))
			return DAMAGED;
		if (!range_fits(at, packed, w->len))
			return TRUNCATED;
		made = run((const char *)w->in + at, (char *)w->out + w->made, (int)packed,
			   (int)MIN(w->room - w->made, (size_t)LZ4_BLOCK));
		if (made < 0)
			return DAMAGED;
		at += packed;
		w->made += (size_t)made;
	}
	return WHOLE;
}

static const struct kind {
	const char *name; /* of format_compression() */
	const char *library;
	const char *package;
	bool sized; /* the build appends the length */
	enum verdict (*unpack)(struct work *w);
} kinds[] = {
	{"bzip2", "libbz2.so.1.0", "libbz2-1.0", true, from_bzip2},
	{"gzip", "libdeflate.so.0", "libdeflate0", false, from_gzip},
	{"lz4", "liblz4.so.1", "liblz4-1", true, from_lz4},
	{"lzma", "liblzma.so.5", "liblzma5", true, from_lzma},
	{"lzo", "liblzo2.so.2", "liblzo2-2", true, from_lzo},
	{"none", NULL, NULL, false, copy},
	{"xz", "liblzma.so.5", "liblzma5", true, from_xz},
	{"zstd", "libzstd.so.1", "libzstd1", true, from_zstd},
};

static const struct kind *recognise(const uint8_t *head, size_t len)
{
	const char *name = format_compression(head, len);

	for (size_t i = 0; name && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

bool boot_unpacker(unsigned int n, struct boot_unpacker *u)
{
	void *library;

	if (n >= ARRAY_SIZE(kinds))
		return false;
	library = kinds[n].library ? dlopen(kinds[n].library, RTLD_LAZY | RTLD_LOCAL) : NULL;
	*u = (struct boot_unpacker){
		.kind = kinds[n].name,
		.package = kinds[n].package,
		.there = !kinds[n].library || library,
	};
	if (library)
		dlclose(library);
	return true;
}

static int unknown_kind(struct err *err)
{
	return err_set(err, ENOTSUP, "the payload is compressed in a way that skep does not know");
}

static int report(const struct kind *kind, const struct work *w, enum verdict verdict,
		  struct err *err)
{
	switch (verdict) {
	case WHOLE:
		if (w->made == w->room)
			return 0;
		return err_set(err, ENOEXEC,
			       "the %s payload is %zu bytes unpacked and promises %zu", kind->name,
			       w->made, w->room);
	case TRUNCATED:
		return err_set(err, ENOEXEC, "the %s payload is truncated", kind->name);
	case LONGER:
		return err_set(
			err, ENOEXEC,
			"the %s payload is more than the %zu bytes unpacked that it promises",
			kind->name, w->room);
	case NO_MEMORY:
		return err_set(err, ENOMEM, "there is no memory to unpack the %s payload",
			       kind->name);
	case DICTIONARY:
		return err_set(err, ENOTSUP,
			       "the %s payload needs a dictionary of more than 128 MiB",
			       kind->name);
	case NO_FUNCTION:
		return err_set(err, ENOSYS, "%s is not the library that unpacks %s payloads",
			       kind->library, kind->name);
	case DAMAGED:
		break;
	}
	return err_set(err, ENOEXEC, "the %s payload is damaged", kind->name);
}

int unpack_bytes(const uint8_t *in, size_t len, void *out, size_t out_len, struct err *err)
{
	const struct kind *kind = recognise(in, len);
	struct work w = {.in = in, .len = len, .out = out, .room = out_len};

	if (!kind)
		return unknown_kind(err);
	if (len > UINT32_MAX || out_len > UINT32_MAX)
		return err_set(err, ENOTSUP, "the %s payload is larger than 4 GiB", kind->name);
	if (kind->sized && len < SIZE_LEN)
		return report(kind, &w, TRUNCATED, err);
	if (kind->sized)
		w.len -= SIZE_LEN;
	if (kind->library) {
		w.library = dlopen(kind->library, RTLD_NOW | RTLD_LOCAL);
		if (!w.library)
			return err_set(err, ENOSYS, "%s payloads are unpacked by %s: install %s",
				       kind->name, kind->library, kind->package);
	}
	/* It stays: at a reset, nothing could be opened any more (sandbox.h). */
	return report(kind, &w, kind->unpack(&w), err);
}

static int check_range(const struct boot_image *img, uint64_t offset, uint64_t len, struct err *err)
{
	if (!range_fits(offset, len, boot_image_size(img)))
		return err_set(err, EIO, "%s ends within its payload", image_label(img));
	return 0;
}

int unpack_size(const struct boot_image *img, uint64_t offset, uint64_t len, uint64_t *size,
		struct err *err)
{
	const struct kind *kind = NULL;
	uint8_t magic[SIZE_LEN], tail[SIZE_LEN];
	int ret = check_range(img, offset, len, err);

	if (!ret && len >= SIZE_LEN) {
		ret = image_read(img, offset, magic, sizeof(magic), err);
		kind = recognise(magic, sizeof(magic));
	}
	if (ret)
		return ret;
	if (!kind) {
		unknown_kind(err);
		err_prefix(err, "%s", image_label(img));
		return -ENOTSUP;
	}
	ret = image_read(img, offset + len - SIZE_LEN, tail, sizeof(tail), err);
	if (!ret)
		*size = kind->library ? load_le32(tail) : len;
	return ret;
}

int unpack(const struct boot_image *img, uint64_t offset, uint64_t len, void *out, uint64_t out_len,
	   struct err *err)
{
	int ret = check_range(img, offset, len, err);
	uint8_t *in;

	if (ret)
		return ret;
	in = unpack_room(len);
	if (!in)
		return err_set(err, ENOMEM, "there is no memory for the payload of %s",
			       image_label(img));
	ret = image_read(img, offset, in, len, err);
	if (!ret) {
		ret = unpack_bytes(in, len, out, out_len, err);
		if (ret)
			err_prefix(err, "%s", image_label(img));
	}
	free(in);
	return ret;
}
