/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot - puts a kernel into guest memory and says where the first vCPU enters it.
 *
 * There are several protocols by which a kernel can be booted (boot_protocols() lists them). The
 * first that recognises the image is taken, unless one is asked for by name. A protocol only plans:
 * it says which bytes go where, and how the kernel is entered. Every piece of a plan is checked
 * against the guest's memory map and against all others before anything is loaded.
 *
 * Files are opened once and stay open, so that a reset of the machine loads the very same files
 * again, even when their paths are gone by then. They are read straight into guest memory.
 *
 * Every value in a file is taken for hostile: whatever a file says, nothing outside guest RAM or
 * outside the file is touched. One thread at a time; no vCPU runs.
 */
#ifndef SKEP_BOOT_H
#define SKEP_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/config.h"

struct cpu_entry;
struct e820;
struct err;
struct gmem;

/* A file to boot from: a kernel, an initrd, a module. */
struct boot_image;

/* Opens the regular file @path; @role ("kernel", "initrd") is what messages call it. */
int boot_open(struct boot_image **img, const char *role, const char *path, struct err *err);

/* An image in memory, which stays the caller's and outlives it. */
int boot_open_memory(struct boot_image **img, const char *role, const char *name, const void *data,
		     size_t len, struct err *err);

/* NULL is allowed. */
void boot_close(struct boot_image *img);

uint64_t boot_image_size(const struct boot_image *img);
/* Whether it is a Linux kernel as distributions have them. */
bool boot_image_is_bzimage(const struct boot_image *img);
/* The file, which stays the image's; -1 for an image in memory. */
int boot_image_fd(const struct boot_image *img);

/* The SHA-256 of the image's bytes as they are now, in hexadecimal. -ENOSYS: this host has no
 * Nettle. */
#define BOOT_HASH_TEXT 65
/* Before the guest runs, if it will run in a sandbox: opens what hashing takes. */
void boot_hash_prepare(void);
int boot_image_hash(const struct boot_image *img, char hex[BOOT_HASH_TEXT], struct err *err);

enum boot_switch {
	BOOT_AUTO,
	BOOT_ON,
	BOOT_OFF,
};

/* In which mode a file is entered that does not say. */
enum boot_mode {
	BOOT_PROT32,
	BOOT_REAL16,
	BOOT_LONG64,
};

/* How an ELF file that does not say is told of the machine. */
enum boot_handoff {
	BOOT_HANDOFF_MULTIBOOT, /* as Multiboot 1 has it */
	BOOT_HANDOFF_PARAMS,    /* Linux's boot_params */
	BOOT_HANDOFF_NONE,
};

/* What a person may say of how a kernel is booted. All zeroes: nothing. */
struct boot_options {
	const char *kernel;
	const char *append;
	const char *protocol; /* NULL: the first that recognises the image */
	const char *cache;    /* directory of unpacked kernels; NULL: the user's; "off": none */
	unsigned int kaslr;   /* enum boot_switch */
	uint64_t at;          /* where a file is loaded that does not say; 0: not given */
	unsigned int mode;    /* enum boot_mode */
	unsigned int handoff; /* enum boot_handoff */
};
/* In "boot.KEY" of the tree: see config.h. */
extern const struct option boot_option_table[];

/* A file that a kernel is handed beside its command line; Multiboot's word. */
struct boot_module {
	struct boot_image *img;
	const char *cmdline; /* never NULL */
};

/* @spec, "FILE" or "FILE,TEXT" with TEXT the module's command line, outlives the module. */
int boot_open_module(struct boot_module *module, const char *spec, struct err *err);

/* ACPI 6.5, section 5.2.5.3: the root pointer, that of ACPI 1.0 at its beginning. */
#define BOOT_RSDP_LEN    36
#define BOOT_RSDP_V1_LEN 20
#define BOOT_RSDP_RSDT   16 /* offset of a 32-bit address, 0: none */

struct boot_request {
	const struct boot_image *kernel;
	const struct boot_options *options; /* NULL: all zeroes; kernel and append are not used */
	/* Linux gets them concatenated in this order, each padded to 4 bytes; protocols with
	 * modules get them as the first of these. */
	const struct boot_image *const *initrds;
	unsigned int initrd_count;
	const struct boot_module *modules;
	unsigned int module_count;
	const char *cmdline;       /* NULL: empty, but for Linux @linux_cmdline */
	const char *linux_cmdline; /* NULL: empty */
	uint64_t rsdp;             /* gpa of the ACPI root pointer; 0: the guest looks for it */
	/* What is there, BOOT_RSDP_LEN bytes, for protocols that hand over a copy; NULL: none. */
	const uint8_t *rsdp_copy;
	const struct e820 *memory; /* handed to the guest; only its RAM is loaded into */
	bool text_screen;          /* the machine has one, at B8000h */
};

struct boot_protocol_info {
	const char *name;  /* what a person asks for it by */
	const char *words; /* "the 32-bit Linux boot protocol" */
	bool usable;       /* it recognises the image */
	const char *why;   /* what speaks for it, or what is missing; never NULL */
};

#define BOOT_FACTS_MAX     48
#define BOOT_PROTOCOLS_MAX 16

/* What a kernel image says of itself. */
struct boot_info {
	const char *format; /* in words, with an article; never NULL */
	unsigned int fact_count;
	struct boot_fact {
		const char *label; /* static text */
		char text[120];    /* printable */
	} facts[BOOT_FACTS_MAX];
	/* In the order in which they are tried. */
	unsigned int protocol_count;
	struct boot_protocol_info protocols[BOOT_PROTOCOLS_MAX];
	const char *chosen; /* the name of one of these; NULL: none */
};

/*
 * Reads the headers of the kernel in @req. 0 when boot_plan() finds a protocol for it; otherwise
 * -errno and the reason, with @info filled as far as the image could be understood.
 */
int boot_examine(const struct boot_request *req, struct boot_info *info, struct err *err);

/* Number @n of the protocols there are, with usable and why left out; false past the last. */
bool boot_protocol(unsigned int n, struct boot_protocol_info *info);

/* Number @n of the ways in which kernels are packed; false past the last. */
struct boot_unpacker {
	const char *kind;    /* "xz" */
	const char *package; /* Debian's, which has its library; NULL: none is needed */
	bool there;          /* this host can unpack it */
};
bool boot_unpacker(unsigned int n, struct boot_unpacker *u);

#define BOOT_PIECES_MAX 128

/* What lies where, in ascending order; pieces never overlap and lie wholly in RAM. */
struct boot_layout {
	unsigned int count;
	struct boot_piece {
		char name[32];
		uint64_t gpa;
		uint64_t len;
	} pieces[BOOT_PIECES_MAX];
	const char *protocol; /* by name */
	const char *mode;     /* in which it is entered, in words */
	uint64_t entry;       /* gpa of the first instruction */
	/* Bytes of RAM, a multiple of 1 MiB, with which a PC could boot this and with no less. */
	uint64_t least_memory;
	bool unpacks_itself; /* the kernel begins with a decompressor of its own */
	/* clock_now() when boot_load() began to decompress it, and had; 0: it did not have to. */
	uint64_t unpack_from, unpack_to;
};

/* Decides where everything goes; loads nothing. */
int boot_plan(const struct boot_request *req, struct boot_layout *layout, struct err *err);

/*
 * Loads by a plan made now. @layout may be NULL. May be called again, at each reset of the machine,
 * and depends on nothing that memory held before. On failure, guest memory is left half-written.
 */
int boot_load(const struct boot_request *req, struct gmem *mem, struct cpu_entry *entry,
	      struct boot_layout *layout, struct err *err);

#endif
