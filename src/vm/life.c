/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine's life, from its first instruction to its end: all on the control thread but for
 * vm_end(), which any thread may call.
 *
 * The machine runs while the control worker runs: whatever ends it leaves its reason and stops the
 * worker, and vm_run() then gets the vCPUs out of the guest. So an ending is one place, however
 * many things end a machine.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/timer.h"
#include "skep/workers.h"
#include "vm_priv.h"

void vm_on_ended(struct post *post)
{
	struct vm *vm = container_of(post, struct vm, ended);

	worker_stop(vm->machine.control);
}

void vm_end(struct machine *m, const struct ending *ending)
{
	struct vm *vm = container_of(m, struct vm, machine);

	/* A reset that the machine goes through is no ending, and keeps none out. */
	if (ending->kind == END_RESET && vm->options.on_reset == ON_RESET_REBOOT)
		atomic_store(&vm->reset_asked, true);
	else if (!atomic_exchange(&vm->ending_taken, true))
		vm->ending = *ending;
	else
		return;
	kvm_hold(vm->kvm);
	worker_post(m->control, &vm->ended);
}

static void on_timeout(struct io *io, int result)
{
	struct vm *vm = container_of(io, struct vm, timeout_io);

	if (result == -ETIME)
		machine_end(&vm->machine, END_TIMEOUT, 0, "the guest had not ended after %llu s",
			    (unsigned long long)vm->options.timeout);
}

static void await_signal(struct vm *vm)
{
	io_read(vm->machine.control, &vm->signal_io, vm->signals_slot, &vm->signal,
		sizeof(vm->signal), IO_STREAM);
}

static void on_signal(struct io *io, int result)
{
	struct vm *vm = container_of(io, struct vm, signal_io);
	unsigned int signo = vm->signal.ssi_signo;

	if (result != sizeof(vm->signal))
		return;
	if (signo == SIGWINCH) {
		chan_window_changed(&vm->machine);
		await_signal(vm);
	} else {
		machine_end(&vm->machine, END_SIGNAL, signo, "signal %u (%s) ended skep", signo,
			    sigdescr_np((int)signo));
	}
}

/* One that came as the machine ended: nothing is awaited behind it. */
static void on_late_signal(struct io *io, int result)
{
	(void)io;
	(void)result;
}

int vm_take_signals(struct vm *vm, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	vm->signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (vm->signals < 0)
		return err_sys(err, errno, "cannot listen for signals");
	vm->signals_slot = worker_add_file(vm->machine.control, vm->signals);
	if (vm->signals_slot < 0)
		return err_sys(err, -vm->signals_slot, "cannot listen for signals");
	return 0;
}

static void phase(enum trace_phase phase, uint64_t time)
{
	const struct trace_event e = {
		.time = time,
		.kind = TRACE_PHASE,
		.sub = (uint8_t)phase,
		.device = TRACE_NO_DEVICE,
	};

	if (trace_on())
		trace_put_event(&e);
}

/* All threads are known now; who listens has said so. */
static void record(struct vm *vm)
{
	struct trace *trace = vm->machine.trace;
	struct trace_ring *control = trace_ring(trace, TRACE_CONTROL, 0, "control");

	worker_record(vm->machine.control, control);
	workers_record(vm->machine.workers, trace);
	kvm_record(vm->kvm, trace);
	if (!trace)
		return;
	vm_listen(vm);
	trace_start(trace);
	trace_enter(control);
	phase(TRACE_CREATED, vm->report.created);
	phase(TRACE_ASSEMBLED, vm->report.assembled);
	phase(TRACE_LOADED, vm->report.loaded);
}

static void pause_devices(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->device_count; i++)
		device_pause(vm->devices[i]);
}

static void resume_devices(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->device_count; i++)
		device_resume(vm->devices[i]);
}

/* Time goes on before the guest does, and stops behind it. */
void vm_pause(struct vm *vm)
{
	if (vm->paused)
		return;
	vm->paused = true;
	chan_hurry(&vm->machine, true);
	kvm_pause(vm->kvm);
	vtime_pause(vm->machine.time);
	pause_devices(vm);
	phase(TRACE_PAUSED, 0);
}

void vm_resume(struct vm *vm)
{
	if (!vm->paused)
		return;
	vm->paused = false;
	phase(TRACE_RESUMED, 0);
	chan_hurry(&vm->machine, false);
	resume_devices(vm);
	if (vm->running)
		vtime_resume(vm->machine.time);
	kvm_resume(vm->kvm);
}

bool vm_paused(const struct vm *vm)
{
	return vm->paused;
}

bool vm_toggle_pause(struct machine *m)
{
	struct vm *vm = container_of(m, struct vm, machine);

	if (vm->paused)
		vm_resume(vm);
	else
		vm_pause(vm);
	return vm->paused;
}

/* Of all threads: at its end the control thread drives any worker. */
static enum sandbox_engine engine_of(const struct machine *m)
{
	return worker_engine_reason(m->control) || workers_engine_reason(m->workers)
		       ? SANDBOX_EPOLL
		       : SANDBOX_URING;
}

/* Everything is open: from here on nothing will be. */
static int enter_sandbox(struct vm *vm, struct err *err)
{
	const enum sandbox_engine engine = engine_of(&vm->machine);
	int ret;

	/* A second life has what the first left: nothing could be made anew. */
	if (vm->shut)
		return 0;
	vm->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (vm->options.sandbox.mode == SANDBOX_ON)
		kvm_prepare();
	ret = sandbox_enter(&vm->options.sandbox, engine, vm->machine.log, err);
	vm_trim();
	return ret;
}

/* Those that there are go on. The last is this one, which goes into its sandbox behind them. */
static int make_threads(struct vm *vm, struct err *err)
{
	int ret = workers_start(vm->machine.workers, err);

	if (!ret)
		ret = kvm_ready(vm->kvm, err);
	if (ret || vm->shut)
		return ret;
	ret = worker_ready(vm->machine.control, err);
	if (!ret)
		ret = sandbox_thread(SANDBOX_CONTROL, err);
	vm->shut = !ret;
	return ret;
}

/* Runs until something ends the machine; the vCPUs are out of the guest then. */
static int run_once(struct vm *vm, struct err *err)
{
	struct worker *control = vm->machine.control;
	int ret;

	chan_hurry(&vm->machine, false);
	ret = make_threads(vm, err);
	if (ret)
		return ret;
	/* Before the first instruction, which may ask a clock whether it runs. */
	if (!vm->paused) {
		resume_devices(vm);
		vtime_resume(vm->machine.time);
	}
	phase(TRACE_RUNNING, 0);
	ret = kvm_start(vm->kvm, err);
	if (ret) {
		vtime_pause(vm->machine.time);
		return ret;
	}
	vm->running = true;
	vm_watch_start(vm);
	ret = worker_run(control);
	vm->running = false;
	chan_hurry(&vm->machine, true);
	kvm_rest(vm->kvm);
	/*
	 * Behind the vCPUs, which wait for them. What devices have under way ends while there are
	 * threads to end it: in the sandbox no other has the rings that it would take.
	 */
	if (!vm->paused)
		pause_devices(vm);
	workers_rest(vm->machine.workers);
	phase(TRACE_STOPPED, 0);
	vtime_pause(vm->machine.time);
	vm_watch_stop(vm);
	return ret ? err_sys(err, -ret, "the control thread cannot do I/O") : 0;
}

int vm_reset(struct vm *vm, struct err *err)
{
	int ret;

	if (!vm->report.resets++)
		vm->report.first_reset = clock_now();
	trace_event(TRACE_RESET, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
	for (unsigned int i = 0; i < vm->device_count; i++)
		device_reset(vm->devices[i]);
	ret = kvm_reset(vm->kvm, err);
	if (!ret)
		ret = vm_load(vm, err);
	return ret;
}

static int run_through_resets(struct vm *vm, struct err *err)
{
	int ret = run_once(vm, err);

	while (!ret && !atomic_load(&vm->ending_taken)) {
		if (atomic_exchange(&vm->reset_asked, false))
			ret = vm_reset(vm, err);
		if (!ret)
			ret = run_once(vm, err);
	}
	return ret;
}

int vm_run(struct vm *vm, struct ending *ending, struct err *err)
{
	struct worker *control = vm->machine.control;
	int ret = enter_sandbox(vm, err);

	if (ret)
		return ret;
	record(vm);
	vm->signal_io.done = on_signal;
	await_signal(vm);
	vm->timeout_io.done = on_timeout;
	if (vm->options.timeout)
		io_timeout(control, &vm->timeout_io, clock_now() + vm->options.timeout * NS_PER_S);
	ret = run_through_resets(vm, err);
	*ending = vm->ending;
	trace_text(TRACE_END, TRACE_NO_DEVICE, ending->kind, ending->code, ending->reason);
	vm->report.ended = clock_now();
	io_cancel(control, &vm->timeout_io);
	io_drain(control, &vm->timeout_io);
	vm->signal_io.done = on_late_signal;
	io_cancel(control, &vm->signal_io);
	io_drain(control, &vm->signal_io);
	return ret;
}
