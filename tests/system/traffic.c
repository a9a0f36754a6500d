/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * traffic: what the tests send through a network card, and what they need of a network besides.
 *
 *	traffic serve PORT [COUNT]             the far end of COUNT connections (default: of all)
 *	traffic run ADDRESS PORT MIB [COUNT]   COUNT connections at once (default 1), and on each as
 *	                                       much in both directions at once; MIB 0: without end
 *	traffic plain INTERFACE                has the host fill in checksums and cut segments of
 *what it sends on an interface, in front of the interface traffic relay SOCKET SOCKET listens on
 *both; what comes in by one goes out by the other
 *
 * Each word that is sent follows from the connection, the direction and its place alone, and each
 * that is received is compared; behind the last one has to come the end. So what checksums would
 * let pass is seen, and so is whatever is lost, doubled or in another's place. Pieces are of
 *lengths that are drawn, so frames are too.
 *
 * One small static program, for guests whose processor is slow.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE   65536U /* at most; a multiple of a word */
#define TRIES   600    /* to connect, times 100 ms */
#define CONNS   32
#define FOREVER UINT64_MAX

struct hello {
	uint64_t seed;  /* of what the client sends; the server's is its complement */
	uint64_t bytes; /* each way; a multiple of a word */
};

static void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The finalizer of splitmix64: a number without a pattern for each number. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15U;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
	x = (x ^ x >> 27) * 0x94d049bb133111ebU;
	return x ^ x >> 31;
}

/* One direction */

static void send_all(int s, uint64_t seed, uint64_t bytes)
{
	static uint64_t words[PIECE / sizeof(uint64_t)];
	uint64_t sent = 0, pieces = 0;

	while (sent < bytes) {
		/* Mostly short ones: the range that a length is drawn from is drawn. */
		uint64_t random = mix(~seed + pieces++), len = 8U << random % 14;
		const char *at = (const char *)words;

		len = 8 + (random >> 8) % len / 8 * 8;
		if (len > bytes - sent)
			len = bytes - sent;
		for (uint64_t i = 0; i < len / 8; i++)
			words[i] = mix(seed + sent / 8 + i);
		sent += len;
		while (len) {
			ssize_t n = send(s, at, len, MSG_NOSIGNAL);

			if (n < 0)
				die("send");
			at += n;
			len -= (uint64_t)n;
		}
	}
}

static void receive_all(int s, uint64_t seed, uint64_t bytes)
{
	static uint64_t words[PIECE / sizeof(uint64_t)];
	uint64_t seen = 0;
	size_t kept = 0; /* bytes of a word whose rest is to come */

	while (seen < bytes) {
		ssize_t n = recv(s, (char *)words + kept, PIECE - kept, 0);
		size_t whole;

		if (n < 0)
			die("receive");
		if (!n) {
			fprintf(stderr, "traffic: %llu bytes came of %llu\n",
				(unsigned long long)(seen + kept), (unsigned long long)bytes);
			exit(1);
		}
		whole = (kept + (size_t)n) / 8;
		for (size_t i = 0; i < whole; i++, seen += 8)
			if (seen >= bytes || words[i] != mix(seed + seen / 8)) {
				fprintf(stderr, "traffic: at byte %llu of %llu stands %llx\n",
					(unsigned long long)seen, (unsigned long long)bytes,
					(unsigned long long)words[i]);
				exit(1);
			}
		kept = (kept + (size_t)n) % 8;
		memmove(words, words + whole, kept);
	}
}

/* Behind the last word nothing comes but the end. */
static void receive_end(int s)
{
	char byte;

	if (recv(s, &byte, 1, 0)) {
		fprintf(stderr, "traffic: it goes on behind its end, or fails\n");
		exit(1);
	}
}

/*
 * Both directions of a connection; the sender is a process of its own. The one who called closes it
 * first, when it has all: the end of one direction is never under way with data of the other, which
 * some versions of passt send twice then.
 */
static void exchange(int s, uint64_t to, uint64_t from, uint64_t bytes, bool caller)
{
	pid_t sender = fork();
	int status;

	if (sender < 0)
		die("fork");
	if (!sender) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		send_all(s, to, bytes);
		_exit(0);
	}
	receive_all(s, from, bytes);
	if (!caller)
		receive_end(s);
	if (waitpid(sender, &status, 0) < 0 || status)
		exit(1);
	if (shutdown(s, SHUT_WR))
		die("shutdown");
	if (caller)
		receive_end(s);
}

/* Waits for @count processes; how many of them failed. */
static unsigned int reap(unsigned int count)
{
	unsigned int failed = 0;
	int status;

	while (count--)
		if (wait(&status) < 0 || status)
			failed++;
	return failed;
}

/* serve and run */

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (!inet_aton(host, &a.sin_addr))
		die(host);
	return a;
}

static void serve_one(int s)
{
	struct hello h;

	if (recv(s, &h, sizeof(h), MSG_WAITALL) != sizeof(h))
		die("receive");
	exchange(s, ~h.seed, h.seed, h.bytes, false);
	/* Behind the last connection a machine may end: its last words go first, unless nobody
	 * hears them any more. */
	for (int left = 1, tries = 300; left && tries; tries--) {
		if (ioctl(s, SIOCOUTQ, &left))
			die("queue");
		usleep(10000);
	}
}

static int serve(const char *port, unsigned int count)
{
	struct sockaddr_in a = address("0.0.0.0", port);
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, CONNS))
		die("listen");
	if (!count)
		signal(SIGCHLD, SIG_IGN);
	for (unsigned int i = 0; !count || i < count; i++) {
		int s = accept(l, NULL, NULL);

		if (s < 0)
			die("accept");
		if (!fork()) {
			signal(SIGCHLD, SIG_DFL);
			close(l);
			serve_one(s);
			_exit(0);
		}
		close(s);
	}
	return reap(count) > 0;
}

static int connected(const struct sockaddr_in *a)
{
	for (int i = 0;; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);

		if (!connect(s, (const struct sockaddr *)a, sizeof(*a)))
			return s;
		if (i == TRIES)
			die("connect");
		close(s);
		usleep(100000);
	}
}

static int run(const char *host, const char *port, uint64_t mib, unsigned int count)
{
	const struct sockaddr_in a = address(host, port);
	const uint64_t bytes = mib ? (mib << 20) / count / 8 * 8 : FOREVER;
	struct timespec begin, end;
	int s[CONNS];

	for (unsigned int i = 0; i < count; i++)
		s[i] = connected(&a);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned int i = 0; i < count; i++) {
		if (!fork()) {
			const struct hello h = {mix((uint64_t)begin.tv_nsec + i), bytes};

			if (send(s[i], &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
				die("send");
			exchange(s[i], h.seed, ~h.seed, h.bytes, true);
			_exit(0);
		}
		close(s[i]);
	}
	if (reap(count))
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("exchanged %llu MiB each way\n# in %lld ms\n", (unsigned long long)mib,
	       (long long)(end.tv_sec - begin.tv_sec) * 1000 +
		       (end.tv_nsec - begin.tv_nsec) / 1000000);
	return 0;
}

/* plain */

static int plain(const char *name)
{
	static const uint32_t commands[] = {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM};
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		struct ethtool_value value = {.cmd = commands[i]};
		struct ifreq ifr = {.ifr_data = (char *)&value};

		snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
		if (ioctl(s, SIOCETHTOOL, &ifr))
			die(name);
	}
	close(s);
	return 0;
}

/* relay */

static int listener(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int l = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 1))
		die(path);
	return l;
}

static void pass_on(int from, int to)
{
	static char buffer[PIECE];
	ssize_t n;

	while ((n = recv(from, buffer, sizeof(buffer), 0)) > 0)
		for (ssize_t at = 0, sent; at < n; at += sent) {
			sent = send(to, buffer + at, (size_t)(n - at), MSG_NOSIGNAL);
			if (sent < 0)
				return;
		}
}

/* Ends with its clients: when one has gone, the other's connection is closed. */
static int relay(const char *const paths[2])
{
	int l[2], s[2];
	pid_t other;

	for (int i = 0; i < 2; i++)
		l[i] = listener(paths[i]);
	for (int i = 0; i < 2; i++) {
		s[i] = accept(l[i], NULL, NULL);
		if (s[i] < 0)
			die(paths[i]);
	}
	other = fork();
	pass_on(s[!other], s[!!other]);
	for (int i = 0; i < 2; i++)
		shutdown(s[i], SHUT_RDWR);
	return other ? reap(1) > 0 : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	unsigned int count = 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "serve"))
		return serve(argv[2], argc > 3 ? (unsigned int)atoi(argv[3]) : 0);
	if (!strcmp(what, "plain"))
		return plain(argv[2]);
	if (!strcmp(what, "relay") && argc == 4)
		return relay((const char *const[]){argv[2], argv[3]});
	if (!strcmp(what, "run") && argc > 4) {
		if (argc > 5)
			count = (unsigned int)atoi(argv[5]);
		if (count && count <= CONNS)
			return run(argv[2], argv[3], strtoull(argv[4], NULL, 0), count);
	}
	fputs("usage: traffic serve PORT [COUNT] | run ADDRESS PORT MIB [COUNT] | plain INTERFACE "
	      "| "
	      "relay SOCKET SOCKET\n",
	      stderr);
	return 125;
}
