/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A boot sector, alone or in front of a disk image: its first 512 bytes at 7C00h, in real mode, on
 * a BIOS of a few calls. The rest of an image is reached through the disk alone, as on a PC.
 */
#include <stdlib.h>
#include <string.h>

#include "skep/bios.h"
#include "skep/bits.h"
#include "skep/err.h"

#include "image.h"
#include "protocol.h"

#define SIGNATURE_AT 510
#define SIGNATURE    0xaa55

/* Other files may have the signature, too: Linux's header does, and says that it cannot boot so. */
static bool is_other(const struct kernel *k)
{
	const char *advice;

	return k->is_bzimage ||
	       strcmp(format_guess(k->head, k->head_len, &advice), FORMAT_BOOT_SECTOR) != 0;
}

static bool has_signature(const struct kernel *k, const char **why)
{
	const char *name = k->req->options ? k->req->options->protocol : NULL;

	*why = "it does not have 55h AAh at offset 510";
	if (k->head_len < BIOS_BOOT_LEN || load_le16(k->head + SIGNATURE_AT) != SIGNATURE)
		return false;
	*why = "it is something else";
	if (!name && is_other(k))
		return false;
	*why = "it has 55h AAh at offset 510";
	return true;
}

static int plan_sector(struct plan *plan, struct err *err)
{
	const struct boot_request *req = plan->req;
	uint8_t *rom;
	int ret;

	if (req->initrd_count || req->module_count)
		return err_set(err, EINVAL, "%s is a boot sector and would not hear of the %s",
			       image_label(req->kernel), req->initrd_count ? "initrd" : "module");
	ret = plan_file(plan, "boot sector", BIOS_BOOT_AT, BIOS_BOOT_LEN, req->kernel, 0,
			BIOS_BOOT_LEN, err);
	if (ret)
		return ret;
	rom = malloc(BIOS_AREA_LEN);
	if (!rom)
		return err_sys(err, ENOMEM, "a BIOS");
	bios_build(rom, req->memory);
	ret = plan_bios(plan, "BIOS", BIOS_AREA, rom, BIOS_AREA_LEN, err);
	free(rom);
	plan->entry.mode = CPU_REAL16;
	plan->entry.segment = BIOS_SEGMENT;
	plan->entry.rip = BIOS_START;
	plan->entry_gpa = BIOS_AREA;
	return ret;
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	const uint64_t sectors = boot_image_size(k->img) / BIOS_BOOT_LEN;

	if (sectors > 1)
		boot_fact(info, "disk image",
			  "%llu sectors, of which the first is loaded; for the others give it as a "
			  "disk, too: -d FILE,model=ide",
			  (unsigned long long)sectors);
}

const struct protocol bootsector_protocol = {
	.name = "bootsector",
	.words = "as a boot sector, on a BIOS of a few calls",
	.recognises = has_signature,
	.plan = plan_sector,
	.describe = describe,
};
