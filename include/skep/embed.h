/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * embed - a file that becomes part of skep while it is built. Constant; any thread.
 *
 *	EMBED(demo_image, SKEP_DEMO_IMAGE);
 *
 * at file level declares the bytes from demo_image_start[] up to demo_image_end[]; the file's name
 * is a string.
 */
#ifndef SKEP_EMBED_H
#define SKEP_EMBED_H

#define EMBED(name, file)                                                    \
	__asm__(".pushsection .rodata." #name ", \"a\", @progbits\n"         \
		".balign 16\n"                                               \
		".globl " #name "_start, " #name "_end\n"                    \
		".hidden " #name "_start, " #name "_end\n" #name "_start:\n" \
		".incbin \"" file "\"\n" #name "_end:\n"                     \
		".popsection\n");                                            \
	extern const unsigned char name##_start[], name##_end[]

#endif
