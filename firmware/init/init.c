/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * init - the first program of a Linux guest that runs one command for `skep smoke --exec`.
 *
 * It mounts what programs expect, runs /bin/sh -c COMMAND with the console as its terminal, waits
 * for it, lets the console finish, and writes the status to the exit port, which ends the machine.
 * What a signal ended has status 128 + its number, as in a shell; 127 is a shell that is not there.
 *
 * /.skep/exec says what to do: a line "PORT INSTALL", in decimal, and behind it the command. With
 * INSTALL not 0, the links of /bin/busybox are made first.
 *
 * There is no C library: this runs on whatever kernel is at hand, beside whatever userland.
 */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

#define EXEC_FILE "/.skep/exec"

/* include/uapi/linux and asm-generic of Linux; they are the same for ever. */
#define O_RDONLY  0
#define O_RDWR    2
#define TIOCSCTTY 0x540e
#define TCSBRK    0x5409
#define EINTR     4

#define REBOOT_MAGIC1    0xfee1dead
#define REBOOT_MAGIC2    672274793
#define REBOOT_POWER_OFF 0x4321fedc

#define SPEC_ROOM 131072

static char spec[SPEC_ROOM];

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

static void say(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	call(__NR_write, 2, (long)text, (long)n, 0, 0);
}

static void mount(const char *type, const char *at)
{
	call(__NR_mkdir, (long)at, 0755, 0, 0, 0);
	call(__NR_mount, (long)type, (long)at, (long)type, 0, 0);
}

/* The kernel has opened the console as 0, 1 and 2, unless it did not find it. */
static void open_console(void)
{
	long fd;

	do {
		fd = call(__NR_open, (long)"/dev/console", O_RDWR, 0, 0, 0);
	} while (fd >= 0 && fd < 2);
	if (fd > 2)
		call(__NR_close, fd, 0, 0, 0, 0);
}

static void read_spec(void)
{
	long fd = call(__NR_open, (long)EXEC_FILE, O_RDONLY, 0, 0, 0);
	size_t len = 0;
	long n;

	do {
		n = call(__NR_read, fd, (long)spec + (long)len, (long)(SPEC_ROOM - 1 - len), 0, 0);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	call(__NR_close, fd, 0, 0, 0, 0);
}

/* A decimal number at *@p and the byte behind it. */
static unsigned long number(const char **p)
{
	unsigned long v = 0;

	while (**p >= '0' && **p <= '9')
		v = 10 * v + (unsigned long)(*(*p)++ - '0');
	if (**p)
		(*p)++;
	return v;
}

static void run(const char *const *argv)
{
	static const char *const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
					  "/sbin:/bin",
					  "HOME=/", "TERM=linux", NULL};

	call(__NR_execve, (long)argv[0], (long)argv, (long)env, 0, 0);
}

/* Waits for @child; others that end were left behind by it. */
static unsigned int wait_for(long child)
{
	int status = 0;
	long pid;

	do {
		pid = call(__NR_wait4, -1, (long)&status, 0, 0, 0);
	} while (pid == -EINTR || (pid > 0 && pid != child));
	if (pid != child)
		return 127;
	return status & 0x7f ? 128 + ((unsigned int)status & 0x7f)
			     : ((unsigned int)status >> 8 & 0xff);
}

static unsigned int start(const char *const *argv)
{
	long child = call(__NR_fork, 0, 0, 0, 0, 0);

	if (child)
		return child < 0 ? 127 : wait_for(child);
	call(__NR_setsid, 0, 0, 0, 0, 0);
	call(__NR_ioctl, 0, TIOCSCTTY, 1, 0, 0);
	run(argv);
	say("skep: there is no ");
	say(argv[0]);
	say(" in the guest\n");
	call(__NR_exit, 127, 0, 0, 0, 0);
	__builtin_unreachable();
}

static void end(unsigned long port, unsigned int status)
{
	call(__NR_ioctl, 1, TCSBRK, 1, 0, 0);
	call(__NR_sync, 0, 0, 0, 0, 0);
	if (!call(__NR_ioperm, (long)port, 4, 1, 0, 0))
		__asm__ volatile("outl %0, %1" : : "a"(status), "Nd"((uint16_t)port));
	say("skep: the guest's kernel keeps its programs from ports, so the status is lost\n");
	for (;;)
		call(__NR_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_POWER_OFF, 0, 0);
}

__attribute__((used)) static void init_main(void)
{
	static const char *const install[] = {"/bin/busybox", "--install", "-s", "/bin", NULL};
	const char *command = spec;
	const char *shell[] = {"/bin/sh", "-c", NULL, NULL};
	unsigned long port;

	mount("devtmpfs", "/dev");
	open_console();
	mount("proc", "/proc");
	mount("sysfs", "/sys");
	call(__NR_mkdir, (long)"/tmp", 01777, 0, 0, 0);
	read_spec();
	port = number(&command);
	if (number(&command))
		start(install);
	shell[2] = command;
	end(port, start(shell));
}

/* The kernel enters with the stack aligned to 16 (x86-64 psABI, 3.4.1). */
__asm__(".globl _start\n"
	"_start:\n"
	"	xorl %ebp, %ebp\n"
	"	call init_main\n"
	"	ud2\n");
