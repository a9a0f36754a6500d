/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - the demo guest's bzImage as part of skep. Constant; any thread.
 */
#include "skep/demo.h"

__asm__(".pushsection .rodata.demo_image, \"a\", @progbits\n"
	".balign 16\n"
	".globl demo_image_start, demo_image_end\n"
	".hidden demo_image_start, demo_image_end\n"
	"demo_image_start:\n"
	".incbin \"" SKEP_DEMO_IMAGE "\"\n"
	"demo_image_end:\n"
	".popsection\n");

extern const unsigned char demo_image_start[], demo_image_end[];

const void *demo_image(size_t *len)
{
	*len = (size_t)(demo_image_end - demo_image_start);
	return demo_image_start;
}
