/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine on a host that refuses io_uring says so, once, however many workers it has. Skipped
 * where there is no usable /dev/kvm.
 */
#include "support/cm.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/config.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/log.h"
#include "skep/vm.h"
#include "skep/worker.h"
#include "support/refuse.h"

/* In a process of its own: a filter is for good. */
static void create(int kvm, int errnum)
{
	struct config *config = config_new();
	struct log log;
	struct err err;
	struct vm *vm;

	log_init(&log, STDOUT_FILENO, LOG_WARN);
	if (!config || vm_defaults(config, &err) ||
	    config_set_pair(config, "device.com1.backend=none", &err) ||
	    config_set_pair(config, "device.rng0=virtio_rng", &err) ||
	    config_set_pair(config, "device.rng1=virtio_rng", &err))
		_exit(2);
	if (errnum && !refuse_io_uring(errnum))
		_exit(3);
	if (vm_create(&vm, config, kvm, &log, &err))
		_exit(4);
	vm_destroy(vm);
	config_free(config);
	_exit(0);
}

/* What such a machine writes to its log. */
static void log_of_machine(int errnum, char *text, size_t room)
{
	int kvm = kvm_open(NULL), ends[2], status;
	size_t have = 0;
	ssize_t n;
	pid_t pid;

	if (kvm < 0)
		skip();
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(ends[1], STDOUT_FILENO);
		create(kvm, errnum);
	}
	close(kvm);
	close(ends[1]);
	while ((n = read(ends[0], text + have, room - 1 - have)) > 0)
		have += (size_t)n;
	text[have] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_refused(void **state)
{
	char text[4096], *end;

	(void)state;
	log_of_machine(ENOSYS, text, sizeof(text));
	assert_non_null(strstr(text, "epoll"));
	assert_non_null(strstr(text, "CONFIG_IO_URING"));
	end = strchr(text, '\n');
	assert_non_null(end);
	assert_string_equal(end, "\n");
}

static void test_granted(void **state)
{
	char text[4096];

	(void)state;
	if (worker_probe(NULL))
		skip();
	log_of_machine(0, text, sizeof(text));
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_granted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
