/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - the guest's init as part of skep. Constant; any thread.
 */
#include "skep/init.h"

__asm__(".pushsection .rodata.init_image, \"a\", @progbits\n"
	".balign 16\n"
	".globl init_image_start, init_image_end\n"
	".hidden init_image_start, init_image_end\n"
	"init_image_start:\n"
	".incbin \"" SKEP_INIT_IMAGE "\"\n"
	"init_image_end:\n"
	".popsection\n");

extern const unsigned char init_image_start[], init_image_end[];

const void *init_image(size_t *len)
{
	*len = (size_t)(init_image_end - init_image_start);
	return init_image_start;
}
