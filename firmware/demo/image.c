/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - the demo guest's bzImage as part of skep. Constant; any thread.
 */
#include "skep/demo.h"
#include "skep/embed.h"

EMBED(demo_image, SKEP_DEMO_IMAGE);

const void *demo_image(size_t *len)
{
	*len = (size_t)(demo_image_end - demo_image_start);
	return demo_image_start;
}
