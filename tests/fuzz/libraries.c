/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What skep opens while it runs stays open here. To open it for each input takes most of the time,
 * and AddressSanitizer never forgets where a library has been.
 */
#include <dlfcn.h>
#include <stddef.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const libraries[] = {
		"libpcre2-8.so.0", "libdeflate.so.0", "liblzma.so.5", "libbz2.so.1.0",
		"liblzo2.so.2",    "liblz4.so.1",     "libzstd.so.1", "libnettle.so.8",
	};

	(void)argc;
	(void)argv;
	/* One that is not there is not opened later either. */
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		dlopen(libraries[i], RTLD_LAZY);
	return 0;
}
