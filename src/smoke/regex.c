/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCRE2, opened at run time: no machine that nobody judges pays for it. Its compiler to machine
 * code is used where the host allows that.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <dlfcn.h>
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "regex.h"
#include "skep/bits.h"
#include "skep/err.h"

#define LIBRARY "libpcre2-8.so.0"

/* Backtracking from one place in the text, which has 4 KiB: a sane expression needs a few thousand.
 */
#define MATCH_LIMIT   50000
#define HEAP_KIB_MAX  4096
#define JIT_STACK_MAX KIB(512)
#define PATTERN_MAX   KIB(16)

#define FUNCTIONS(X)            \
	X(compile)              \
	X(code_free)            \
	X(jit_compile)          \
	X(jit_stack_create)     \
	X(jit_stack_assign)     \
	X(jit_stack_free)       \
	X(match)                \
	X(match_data_create)    \
	X(match_data_free)      \
	X(match_context_create) \
	X(match_context_free)   \
	X(set_match_limit)      \
	X(set_heap_limit)       \
	X(get_ovector_pointer)  \
	X(get_error_message)

/* pcre2.h makes pcre2_NAME_8 of pcre2_NAME. */
#define TYPE_OF(name) __typeof__(&PCRE2_SUFFIX(pcre2_##name##_))

struct regexes {
	void *library;
	struct {
#define X(name) TYPE_OF(name) name;
		FUNCTIONS(X)
#undef X
	} pcre2;
	pcre2_match_context *context;
	pcre2_match_data *data;
	pcre2_jit_stack *stack;
};

struct regex {
	const struct regexes *set;
	pcre2_code *code;
};

static bool find_functions(struct regexes *set)
{
#define X(name)                                                                    \
	set->pcre2.name = (TYPE_OF(name))dlsym(set->library, "pcre2_" #name "_8"); \
	if (!set->pcre2.name)                                                      \
		return false;
	FUNCTIONS(X)
#undef X
	return true;
}

CALLS_LIBRARY
int regexes_open(struct regexes **out, struct err *err)
{
	struct regexes *set = calloc(1, sizeof(*set));
	bool ready = false;
	int ret = 0;

	*out = NULL;
	if (!set)
		return err_sys(err, ENOMEM, "expressions");
	set->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!set->library)
		ret = err_set(err, ENOSYS, "expressions are PCRE2's: install libpcre2-8-0");
	else if (!find_functions(set))
		ret = err_set(err, ENOSYS, "this host's " LIBRARY " is too old");
	else
		ready = true;
	if (ready) {
		set->context = set->pcre2.match_context_create(NULL);
		set->data = set->pcre2.match_data_create(1, NULL);
		set->stack = set->pcre2.jit_stack_create(KIB(32), JIT_STACK_MAX, NULL);
		if (!set->context || !set->data)
			ret = err_sys(err, ENOMEM, "expressions");
	}
	if (ret || !ready) {
		regexes_close(set);
		return ret;
	}
	set->pcre2.set_match_limit(set->context, MATCH_LIMIT);
	set->pcre2.set_heap_limit(set->context, HEAP_KIB_MAX);
	if (set->stack)
		set->pcre2.jit_stack_assign(set->context, NULL, set->stack);
	*out = set;
	return 0;
}

CALLS_LIBRARY
void regexes_close(struct regexes *set)
{
	if (!set)
		return;
	if (set->stack)
		set->pcre2.jit_stack_free(set->stack);
	if (set->data)
		set->pcre2.match_data_free(set->data);
	if (set->context)
		set->pcre2.match_context_free(set->context);
	if (set->library)
		dlclose(set->library);
	free(set);
}

CALLS_LIBRARY
int regex_compile(struct regex **out, struct regexes *set, const char *pattern, enum regex_use use,
		  struct err *err)
{
	/* Text that is not UTF-8 would be an error of each search. */
	const uint32_t options =
		PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
	char message[128] = "";
	struct regex *re;
	PCRE2_SIZE at = 0;
	int code = 0;

	*out = NULL;
	if (strlen(pattern) > PATTERN_MAX)
		return err_set(err, EINVAL, "an expression has at most %lu bytes, this one %zu",
			       PATTERN_MAX, strlen(pattern));
	re = calloc(1, sizeof(*re));
	if (!re)
		return err_sys(err, ENOMEM, "expressions");
	re->set = set;
	re->code = set->pcre2.compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code,
				      &at, NULL);
	if (!re->code) {
		free(re);
		set->pcre2.get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
		return err_set(err, EINVAL, "'%.200s' is no expression: %s, at byte %zu", pattern,
			       message, at);
	}
	/* Where it fails, matching is slower. */
	if (use != REGEX_ONCE)
		set->pcre2.jit_compile(re->code,
				       PCRE2_JIT_COMPLETE |
					       (use == REGEX_TEXT ? PCRE2_JIT_PARTIAL_HARD : 0));
	*out = re;
	return 0;
}

CALLS_LIBRARY
void regex_free(struct regex *re)
{
	if (!re)
		return;
	re->set->pcre2.code_free(re->code);
	free(re);
}

CALLS_LIBRARY
enum regex_found regex_search(const struct regex *re, const struct regex_text *text, size_t *start,
			      size_t *end)
{
	const struct regexes *set = re->set;
	const uint32_t options = (text->cut ? PCRE2_NOTBOL : 0) |
				 (text->going || text->piece ? PCRE2_NOTEOL : 0) |
				 (text->going ? PCRE2_PARTIAL_HARD : 0);
	const PCRE2_SIZE *found;
	int ret;

	ret = set->pcre2.match(re->code, (PCRE2_SPTR)text->at, text->len, text->from, options,
			       set->data, set->context);
	if (ret == PCRE2_ERROR_NOMATCH)
		return REGEX_NO;
	if (ret == PCRE2_ERROR_PARTIAL)
		return REGEX_OPEN;
	if (ret < 0)
		return REGEX_COSTLY;
	found = set->pcre2.get_ovector_pointer(set->data);
	/* \K can put the start behind the end. */
	*start = MIN(found[0], found[1]);
	*end = found[1];
	return REGEX_YES;
}
