/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Gives back what only the start of a machine needed.
 */
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>

#include "skep/bits.h"
#include "vm_priv.h"

/*
 * Code and constants of one loaded object. Nobody writes to these segments, so their pages are the
 * page cache's and come back with the next access; those that are not needed again stay away.
 */
static int drop_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	const uint64_t page = KIB(4);

	(void)size;
	(void)arg;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t from = align_down(info->dlpi_addr + ph->p_vaddr, page);
		uint64_t to = align_up(info->dlpi_addr + ph->p_vaddr + ph->p_memsz, page);

		if (ph->p_type == PT_LOAD && !(ph->p_flags & PF_W))
			madvise((void *)(uintptr_t)from, to - from, MADV_DONTNEED);
	}
	return 0;
}

void vm_trim(void)
{
	malloc_trim(0);
	dl_iterate_phdr(drop_object, NULL);
}
