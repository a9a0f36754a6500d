/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netload: what a network card of a guest does, as one line of JSON.
 *
 *	netload serve PORT                   the host's side, for ever
 *	netload run ADDRESS PORT [MIB]       the guest's
 *
 * The guest makes a connection for each figure and says by its first byte what it is for: 'e', the
 * host sends each byte back; 's', the host reads MIB (default 64) and sends a byte back; 'g', the
 * host sends as much. A part of each goes ahead unmeasured. One small static program, for guests
 * whose processor is slow.
 *
 * Figures, by the guest's own monotonic clock: rtt_ns, the time for a byte there and back; out_mbs
 * and in_mbs, bulk transfer in 10^6 bytes a second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS  2000
#define CHUNK   (128 * 1024)
#define AHEAD   (16 << 20) /* bytes of a bulk transfer that are not measured */
#define CONNECT 50         /* times 100 ms */

static char buffer[CHUNK];

static void die(const char *what)
{
	fprintf(stderr, "netload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void take(int s, uint64_t len)
{
	while (len) {
		ssize_t n = recv(s, buffer, len < CHUNK ? len : CHUNK, 0);

		if (n <= 0)
			die("recv");
		len -= (uint64_t)n;
	}
}

static void give(int s, uint64_t len)
{
	while (len) {
		ssize_t n = send(s, buffer, len < CHUNK ? len : CHUNK, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		len -= (uint64_t)n;
	}
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (!inet_aton(host, &a.sin_addr))
		die(host);
	return a;
}

/* The host's side of one connection. */
static void serve_one(int s)
{
	uint32_t mib;
	char what;

	if (recv(s, &what, 1, 0) != 1 || recv(s, &mib, sizeof(mib), MSG_WAITALL) != sizeof(mib))
		return;
	if (what == 'e')
		while (recv(s, buffer, 1, 0) == 1)
			give(s, 1);
	if (what == 's' || what == 'g') {
		uint64_t parts[] = {AHEAD, (uint64_t)mib << 20};

		for (int i = 0; i < 2; i++) {
			if (what == 's') {
				take(s, parts[i]);
				give(s, 1);
			} else {
				take(s, 1);
				give(s, parts[i]);
			}
		}
	}
}

static int serve(const char *port)
{
	struct sockaddr_in a = address("0.0.0.0", port);
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 8))
		die("listen");
	for (;;) {
		int s = accept(l, NULL, NULL);

		if (s < 0)
			continue;
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* A child each: a guest that dies takes its own with it. */
		if (!fork()) {
			serve_one(s);
			_exit(0);
		}
		close(s);
	}
}

static int start(const struct sockaddr_in *a, char what, uint32_t mib)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	for (int i = 0; connect(s, (const struct sockaddr *)a, sizeof(*a)); i++) {
		if (i == CONNECT)
			die("connect");
		usleep(100000);
	}
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (send(s, &what, 1, 0) != 1 || send(s, &mib, sizeof(mib), 0) != sizeof(mib))
		die("send");
	return s;
}

static uint64_t round_trips(int s, unsigned int n)
{
	uint64_t begin = now_ns();

	for (unsigned int i = 0; i < n; i++) {
		give(s, 1);
		take(s, 1);
	}
	return (now_ns() - begin) / n;
}

static double bulk(int s, char what, uint64_t len)
{
	uint64_t begin = now_ns();

	if (what == 's') {
		give(s, len);
		take(s, 1);
	} else {
		give(s, 1);
		take(s, len);
	}
	return (double)len * 1e3 / (double)(now_ns() - begin);
}

int main(int argc, char **argv)
{
	struct sockaddr_in a;
	uint32_t mib;
	int s;

	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc < 4 || strcmp(argv[1], "run")) {
		fputs("usage: netload serve PORT | netload run ADDRESS PORT [MIB]\n", stderr);
		return 125;
	}
	a = address(argv[2], argv[3]);
	mib = argc > 4 ? (uint32_t)atoi(argv[4]) : 64;
	s = start(&a, 'e', 0);
	round_trips(s, ROUNDS / 4);
	printf("skep-bench: {\"rtt_ns\": %llu", (unsigned long long)round_trips(s, ROUNDS));
	close(s);
	for (int i = 0; i < 2; i++) {
		s = start(&a, "sg"[i], mib);
		bulk(s, "sg"[i], AHEAD);
		printf(", \"%s_mbs\": %.1f", i ? "in" : "out",
		       bulk(s, "sg"[i], (uint64_t)mib << 20));
		close(s);
	}
	puts("}");
	return 0;
}
