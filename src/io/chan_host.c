/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's end of a channel: standard input and output, a pseudo-terminal, a file, a socket.
 *
 * Output descriptors are O_NONBLOCK wherever they are ours alone, so that no write can hold up the
 * control thread. O_NONBLOCK belongs to the open file, which we share with the shell when it is
 * inherited: an inherited terminal or pipe is opened anew, and where that is refused, writes are
 * kept to what a poll promises room for.
 *
 * Control thread, or a port's worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "chan_priv.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/sandbox.h"

/* A terminal that polls as writable may have room for no more (the kernel's WAKEUP_CHARS). */
#define TTY_PIECE   256
#define RETRY_AFTER (200 * NS_PER_MS)
#define LINGER      (2 * NS_PER_S)

/* The process has one standard input and output, so at most one channel has them. */
static atomic_bool stdio_taken;

static int add_file(struct chan *c, struct chan_file *f, struct err *err)
{
	f->slot = worker_add_file(c->worker, f->fd);
	if (f->slot < 0)
		return err_sys(err, -f->slot, "cannot hand %s to the control thread", c->what);
	return 0;
}

/* @in is the file of @out: pty and unix. */
static void share_file(struct chan *c)
{
	if (!c->has_input)
		return;
	c->in = c->out;
	c->in.inherited = true;
}

static void drop_file(struct chan *c, struct chan_file *f, bool shared)
{
	if (f->fd < 0)
		return;
	if (!shared && f->slot >= 0)
		worker_remove_file(c->worker, f->slot);
	if (!f->inherited)
		close(f->fd);
	f->fd = -1;
}

static void drop_files(struct chan *c)
{
	drop_file(c, &c->in, c->in.fd == c->out.fd);
	drop_file(c, &c->out, false);
}

/* What the host's end is called in sentences. */
static int name_end(struct chan *c, const char *what, const char *name, struct err *err)
{
	if (asprintf(&c->what, "%s%s", what, name) >= 0)
		return 0;
	c->what = NULL;
	return err_sys(err, ENOMEM, "console of %s", c->dev->id);
}

/* Standard input and output */

/* An open file of our own for what @fd refers to, or -1: it is not of a kind to do that with. */
static int open_anew(int fd, int mode)
{
	char path[32];
	struct stat st;
	unsigned int number;

	if (fstat(fd, &st))
		return -1;
	/* Opened anew, the master of a pseudo-terminal is another one. */
	if (!S_ISFIFO(st.st_mode) && (!isatty(fd) || !ioctl(fd, TIOCGPTN, &number)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

static void use_stdio(struct chan_file *f, int fd, int mode)
{
	f->slot = -1;
	f->fd = open_anew(fd, mode);
	f->inherited = f->fd < 0;
	if (f->inherited)
		f->fd = fd;
}

static int stdio_output(struct chan *c, struct err *err)
{
	struct stat st;

	if (fstat(STDOUT_FILENO, &st))
		return err_sys(err, errno, "cannot use standard output");
	use_stdio(&c->out, STDOUT_FILENO, O_WRONLY);
	if (c->out.inherited && isatty(STDOUT_FILENO))
		c->write_max = TTY_PIECE;
	else if (c->out.inherited && S_ISFIFO(st.st_mode))
		c->write_max = PIPE_BUF;
	chan_set_reader(c, true);
	return add_file(c, &c->out, err);
}

static int stdio_terminal(struct chan *c, struct err *err)
{
	int ret = tty_make_raw(STDIN_FILENO);

	if (ret)
		return err_sys(err, -ret, "cannot make the terminal raw");
	c->terminal = true;
	if (c->log)
		c->log->raw = isatty(c->log->fd);
	return 0;
}

static int stdio_input(struct chan *c, struct err *err)
{
	int ret = 0;

	if (fcntl(STDIN_FILENO, F_GETFD) < 0 || !c->has_input)
		return 0;
	if (isatty(STDIN_FILENO)) {
		if (!tty_foreground(STDIN_FILENO)) {
			log_info(c->log, "%s: skep runs in the background, so it takes no input",
				 c->dev->id);
			return 0;
		}
		ret = stdio_terminal(c, err);
		if (ret)
			return ret;
	}
	use_stdio(&c->in, STDIN_FILENO, O_RDONLY);
	return add_file(c, &c->in, err);
}

static int open_stdout(struct chan *c, const char *arg, struct err *err)
{
	int ret;

	(void)arg;
	if (atomic_exchange(&stdio_taken, true))
		return err_set(err, EBUSY,
			       "standard input and output are another console's already; choose "
			       "pty, file:PATH or unix:PATH");
	c->kind = CHAN_STDIO;
	ret = name_end(c, "standard output", "", err);
	return ret ? ret : stdio_output(c, err);
}

static int open_stdio(struct chan *c, const char *arg, struct err *err)
{
	int ret = open_stdout(c, arg, err);

	return ret ? ret : stdio_input(c, err);
}

static void close_stdio(struct chan *c)
{
	if (c->terminal) {
		chan_restore_terminals();
		if (c->log)
			c->log->raw = false;
	}
	atomic_store(&stdio_taken, false);
}

/* Pseudo-terminal */

/* By the master, and not by its name: a sandbox opens no names. */
static int slave_of(int master)
{
	return ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

static void close_slave(struct chan *c)
{
	if (c->slave < 0)
		return;
	if (!sandbox_entered())
		sandbox_forsake(c->slave);
	close(c->slave);
	c->slave = -1;
}

/* Our own descriptor of the slave keeps the master from reporting a hang-up between readers. */
static int open_slave(struct chan *c)
{
	struct termios t;

	close_slave(c);
	c->slave = slave_of(c->out.fd);
	if (c->slave < 0 || tcgetattr(c->slave, &t))
		return -errno;
	cfmakeraw(&t);
	return tcsetattr(c->slave, TCSANOW, &t) ? -errno : 0;
}

static int open_pty(struct chan *c, const char *arg, struct err *err)
{
	char name[64];
	int ret;

	(void)arg;
	c->kind = CHAN_PTY;
	c->out.slot = -1;
	c->out.fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (c->out.fd < 0 || grantpt(c->out.fd) || unlockpt(c->out.fd))
		return err_sys(err, errno, "cannot make a pseudo-terminal");
	ret = ptsname_r(c->out.fd, name, sizeof(name));
	if (ret)
		return err_sys(err, ret, "cannot make a pseudo-terminal");
	ret = name_end(c, "", name, err);
	if (ret)
		return ret;
	c->path = strdup(name);
	if (!c->path)
		return err_sys(err, ENOMEM, "console of %s", c->dev->id);
	ret = open_slave(c);
	if (ret)
		return err_sys(err, -ret, "cannot open the pseudo-terminal %s", name);
	sandbox_keep(c->slave);
	ret = add_file(c, &c->out, err);
	if (ret)
		return ret;
	share_file(c);
	chan_set_reader(c, true);
	log_info(c->log, "%s: the console is at %s", c->dev->id, name);
	return 0;
}

/* The session that had the slave as its terminal has ended, and took our descriptor with it. */
static void pty_hung_up(struct chan *c)
{
	c->in_ended = true;
	chan_set_reader(c, false);
	if (!io_pending(&c->retry_io) && !c->closing)
		io_timeout(c->worker, &c->retry_io, clock_now() + RETRY_AFTER);
}

static void pty_retry(struct chan *c)
{
	if (open_slave(c)) {
		pty_hung_up(c);
		return;
	}
	c->in_ended = false;
	chan_set_reader(c, true);
	chan_in_next(c);
	chan_out_next(c, true);
}

static bool pty_unread(int slave)
{
	int n = 0;

	return !ioctl(slave, FIONREAD, &n) && n;
}

/*
 * What the slave's reader has not read is gone with the master. With our own descriptor closed,
 * POLLHUP says that there is no reader. The bytes get to the slave a moment after they are written,
 * so that nothing is left must be seen twice.
 */
static void pty_linger(struct chan *c)
{
	uint64_t deadline = clock_now() + LINGER;
	struct pollfd p = {.fd = c->out.fd};
	unsigned int idle = 0;
	int slave;

	close_slave(c);
	if (poll(&p, 1, 0) && (p.revents & POLLHUP))
		return;
	slave = slave_of(c->out.fd);
	while (slave >= 0 && idle < 2 && clock_now() < deadline) {
		poll(NULL, 0, 2); /* to sleep otherwise, the sandbox has no call */
		idle = pty_unread(slave) ? 0 : idle + 1;
	}
	if (slave >= 0)
		close(slave);
}

/* File */

static int open_file(struct chan *c, const char *arg, struct err *err)
{
	/* O_NONBLOCK: a pipe that nobody reads is an error, not a wait. */
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct stat st;
	int ret;

	c->kind = CHAN_FILE;
	c->out.slot = -1;
	if (!*arg)
		return err_set(err, EINVAL, "the console file has no name; say file:PATH");
	ret = name_end(c, "the file ", arg, err);
	if (ret)
		return ret;
	c->out.fd = open(arg, flags, 0666);
	if (c->out.fd < 0) {
		ret = err_sys(err, errno, "cannot write the console to %s", arg);
		if (ret == -ENXIO)
			err_advise(err, "if it is a pipe, start its reader first");
		return ret;
	}
	/* Not every file system knows what not to block means. */
	if (!fstat(c->out.fd, &st) && S_ISREG(st.st_mode))
		fcntl(c->out.fd, F_SETFL, O_WRONLY);
	chan_set_reader(c, true);
	return add_file(c, &c->out, err);
}

/* Socket */

/* Whether somebody accepts connections at @addr. */
static bool socket_alive(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive;

	if (fd < 0)
		return true;
	/* A full backlog (EAGAIN) is somebody, too. */
	alive = !connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) || errno == EAGAIN;
	close(fd);
	return alive;
}

/* The rings of a process that was killed give its files back a moment later. */
static bool socket_stays_alive(const struct sockaddr_un *addr)
{
	const int tries = 6, pause_ms = 100;

	for (int i = 0; i < tries; i++) {
		if (i)
			poll(NULL, 0, pause_ms);
		if (!socket_alive(addr))
			return false;
	}
	return true;
}

static int bind_socket(struct chan *c, const struct sockaddr_un *addr, struct err *err)
{
	const struct sockaddr *sa = (const struct sockaddr *)addr;
	struct stat st;

	if (!bind(c->listener.fd, sa, sizeof(*addr)))
		return 0;
	if (errno != EADDRINUSE)
		return err_sys(err, errno, "cannot make the socket %s", addr->sun_path);
	if (!lstat(addr->sun_path, &st) && !S_ISSOCK(st.st_mode))
		return err_set(err, EEXIST, "%s is there already and is not a socket",
			       addr->sun_path);
	if (socket_stays_alive(addr))
		return err_set(err, EADDRINUSE,
			       "somebody listens on the socket %s already; choose another path",
			       addr->sun_path);
	/* Left behind by somebody who has gone. */
	if (unlink(addr->sun_path) || bind(c->listener.fd, sa, sizeof(*addr)))
		return err_sys(err, errno, "cannot replace the old socket %s", addr->sun_path);
	return 0;
}

static void tell_client(const struct chan *c, bool there)
{
	if (c->port_ops && c->port_ops->connected)
		c->port_ops->connected(c->port, there);
}

static void accept_next(struct chan *c)
{
	io_accept(c->worker, &c->client_io, c->listener.slot);
}

static void client_accepted(struct io *io, int result);

static int open_unix(struct chan *c, const char *arg, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	int ret;

	c->kind = CHAN_UNIX;
	c->listener.slot = -1;
	if (!*arg || strlen(arg) >= sizeof(addr.sun_path))
		return err_set(err, EINVAL,
			       "unix:%.32s%s: a socket's path has 1 to %zu bytes, this one %zu",
			       arg, strlen(arg) > 32 ? "…" : "", sizeof(addr.sun_path) - 1,
			       strlen(arg));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", arg);
	ret = name_end(c, "the socket ", arg, err);
	if (ret)
		return ret;
	c->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->listener.fd < 0)
		return err_sys(err, errno, "cannot make the socket %s", arg);
	ret = bind_socket(c, &addr, err);
	if (ret)
		return ret;
	c->path = strdup(arg);
	if (!c->path || lstat(arg, &st) || listen(c->listener.fd, 1))
		return err_sys(err, errno, "cannot listen on the socket %s", arg);
	c->socket_dev = st.st_dev;
	c->socket_ino = st.st_ino;
	ret = sandbox_remove_later(arg, err);
	if (!ret)
		ret = add_file(c, &c->listener, err);
	if (ret)
		return ret;
	c->client_io.done = client_accepted;
	accept_next(c);
	return 0;
}

static void client_hung_up(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, client_io);

	if (c->closing)
		return;
	if (result != -ECANCELED)
		c->hung_up = true;
	chan_host_check(c);
}

static void unix_retry(struct chan *c)
{
	if (!io_pending(&c->client_io))
		accept_next(c);
}

static void client_accepted(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, client_io);

	if (c->closing) {
		if (result >= 0)
			close(result);
		return;
	}
	c->out = (struct chan_file){.fd = result, .slot = -1};
	if (result < 0 || add_file(c, &c->out, NULL)) {
		drop_file(c, &c->out, false);
		log_guest(c->log, LOG_WARN, "%s: cannot take a client on %s: %s", c->dev->id,
			  c->what, strerrordesc_np(result < 0 ? -result : ENFILE));
		io_timeout(c->worker, &c->retry_io, clock_now() + RETRY_AFTER);
		return;
	}
	fcntl(c->out.fd, F_SETFL, O_RDWR | O_NONBLOCK);
	share_file(c);
	c->in_ended = c->hung_up = false;
	io->done = client_hung_up;
	io_poll(c->worker, io, c->out.slot, POLLHUP);
	chan_set_reader(c, true);
	tell_client(c, true);
	chan_in_next(c);
	chan_out_next(c, true);
}

/*
 * A client that has hung up may have sent something before: it is read as long as the device takes
 * it, and from a lossless port to its end. Then what is still under way is called off, and the next
 * client may come.
 */
static void part_from_client(struct chan *c)
{
	bool read = !io_pending(&c->in_io) && (c->in_ended || !c->lossless);

	if (!c->leaving && c->hung_up && read) {
		c->leaving = true;
		chan_set_reader(c, false);
		io_cancel(c->worker, &c->out_io);
		io_cancel(c->worker, &c->client_io);
	}
	if (!c->leaving || io_pending(&c->out_io) || io_pending(&c->client_io))
		return;
	drop_files(c);
	c->leaving = false;
	c->hung_up = false;
	tell_client(c, false);
	c->client_io.done = client_accepted;
	accept_next(c);
}

static void close_unix(struct chan *c)
{
	struct stat st;

	/* From within the sandbox it cannot be removed: sandbox_leave() sees to it. */
	if (sandbox_entered() || !c->path)
		return;
	sandbox_remove_not(c->path);
	/* Whoever took our place in the meantime keeps it. */
	if (c->socket_ino && !lstat(c->path, &st) && st.st_dev == c->socket_dev &&
	    st.st_ino == c->socket_ino)
		unlink(c->path);
}

/* All kinds */

bool chan_host_connected(const struct chan *c)
{
	return c->kind != CHAN_UNIX || c->out.fd >= 0;
}

bool chan_host_out_failed(struct chan *c, int errnum)
{
	if (c->closing)
		return false;
	if (c->kind == CHAN_PTY && errnum == EIO) {
		pty_hung_up(c);
		return true;
	}
	if (c->kind == CHAN_UNIX && (errnum == EPIPE || errnum == ECONNRESET)) {
		c->hung_up = true;
		chan_set_reader(c, false);
		return true;
	}
	return false;
}

void chan_host_in_ended(struct chan *c, int errnum)
{
	c->in_ended = true;
	if (c->kind == CHAN_PTY && errnum == EIO)
		pty_hung_up(c);
	else if (c->kind == CHAN_UNIX && errnum)
		c->hung_up = true;
}

void chan_host_check(struct chan *c)
{
	if (c->kind == CHAN_UNIX && c->out.fd >= 0 && !c->closing)
		part_from_client(c);
}

void chan_host_linger(struct chan *c)
{
	if (c->kind == CHAN_PTY && c->slave >= 0)
		pty_linger(c);
}

static void retry_done(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, retry_io);

	(void)result;
	if (c->closing)
		return;
	if (c->kind == CHAN_PTY)
		pty_retry(c);
	else
		unix_retry(c);
}

static int map_buffers(struct chan *c, struct err *err)
{
	void *p = mmap(NULL, CHAN_OUT_BYTES + CHAN_IN_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(err, errno, "console of %s", c->dev->id);
	c->out_buf = p;
	c->in_buf = c->out_buf + CHAN_OUT_BYTES;
	return 0;
}

int chan_host_open(struct chan *c, const char *spec, struct err *err)
{
	static const struct {
		const char *word;
		bool path;
		int (*open)(struct chan *c, const char *arg, struct err *err);
	} ends[] = {
		{.word = "stdio", .open = open_stdio},
		{.word = "stdout", .open = open_stdout},
		{.word = "pty", .open = open_pty},
		{.word = "file", .path = true, .open = open_file},
		{.word = "unix", .path = true, .open = open_unix},
	};
	static const char *const words[] = {"stdio", "stdout", "pty", "file", "unix", "none", NULL};
	size_t n = strcspn(spec, ":");
	const char *near;
	char word[16];

	if (!strcmp(spec, "none"))
		return 0;
	c->retry_io.done = retry_done;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (strlen(ends[i].word) == n && !memcmp(ends[i].word, spec, n) &&
		    ends[i].path == (spec[n] == ':')) {
			int ret = map_buffers(c, err);

			return ret ? ret : ends[i].open(c, spec + n + ends[i].path, err);
		}
	snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), spec);
	near = nearest_word(word, words);
	return err_set(err, EINVAL,
		       "'%.64s' is not a console: it is stdio, stdout, pty, file:PATH, unix:PATH "
		       "or none%s%s%s",
		       spec, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

void chan_host_close(struct chan *c)
{
	drop_files(c);
	drop_file(c, &c->listener, false);
	close_slave(c);
	if (c->kind == CHAN_STDIO)
		close_stdio(c);
	if (c->kind == CHAN_UNIX)
		close_unix(c);
}
