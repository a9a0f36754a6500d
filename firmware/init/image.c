/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - the guest's init as part of skep. Constant; any thread.
 */
#include "skep/embed.h"
#include "skep/init.h"

EMBED(init_image, SKEP_INIT_IMAGE);

const void *init_image(size_t *len)
{
	*len = (size_t)(init_image_end - init_image_start);
	return init_image_start;
}
