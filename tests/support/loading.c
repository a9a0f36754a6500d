/* SPDX-License-Identifier: BSD-2-Clause */
#include "loading.h"

#include <endian.h>
#include <string.h>

#include "cm.h"
#include "skep/gmem.h"

void assert_sentence(const struct err *err, const char *words)
{
	if (!strstr(err->text, words))
		fail_msg("'%s' does not say '%s'", err->text, words);
	assert_null(strchr(err->text, '\n'));
	assert_true(strlen(err->text) < sizeof(err->text) - 1);
}

const struct boot_piece *find_piece(const struct boot_layout *l, const char *name)
{
	for (unsigned int i = 0; i < l->count; i++)
		if (!strcmp(l->pieces[i].name, name))
			return &l->pieces[i];
	return NULL;
}

const struct boot_piece *piece(const struct boot_layout *l, const char *name)
{
	const struct boot_piece *found = find_piece(l, name);

	if (!found)
		fail_msg("no piece '%s'", name);
	return found;
}

uint64_t guest_number(const struct gmem *mem, uint64_t gpa, unsigned int size)
{
	uint64_t value = 0;

	assert_int_equal(gmem_read(mem, gpa, &value, size), 0);
	return le64toh(value);
}
