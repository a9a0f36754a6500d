#!/bin/sh
#
# The virtio console and the balloon under Debian's own drivers: /dev/hvc0, a named port in both
# directions, memory that goes back to the host. Needs what linux.sh needs, and MODULES, an initrd
# with the drivers.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

CONSOLE='sh /modules/load; busybox insmod /modules/virtio_console.ko'
BALLOON='sh /modules/load; busybox insmod /modules/virtio_balloon.ko'

# piped NAME COMMANDS OPTION… : as linux, with ./in and ./out as standard input and output.
piped() {
	what=$1 commands=$2
	shift 2
	piped_boot "$@"
	if linux_lost; then
		piped_boot "$@"
	fi
	tap_says "$what: user space" '^user space after' console
	tap_same "$what: powered off" 0 "$status" messages console
}

piped_boot() {
	status=0
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --initrd "$MODULES" --memory 256M \
		--timeout 100 --serial file:console "$@" \
		--append "console=ttyS0 quiet panic=-1 RUN=\"$commands\"" \
		<in >out 2>messages || status=$?
}

sum() {
	sha256sum <"$1" | cut -c 1-64
}

# --- hvc0. ---

# 200,000 bytes come behind the words, all of it before there is a driver; and a terminal lets only
# so much through while nobody reads.
printf 'first words\n' >in
dd if=/dev/zero bs=1000 count=200 2>/dev/null | tr '\0' z >>in
piped 'console' "$CONSOLE; until [ -c /dev/hvc0 ]; do sleep 0.1; done; sleep 0.3; cd /tmp;
	exec 3<>/dev/hvc0; stty raw -echo <&3; read -r words <&3; echo heard \$words; echo heard \$words >&3;
	busybox head -c 200000 <&3 | tr z y >all; wc -c <all; tr -d y <all | wc -c;
	cat all >&3" --console stdio,transport=mmio
tap_says 'console: the guest hears' '^heard first words' console
tap_says 'console: all of it' '^200000' console
tap_says 'console: as it was' '^0' console
{
	echo 'heard first words'
	dd if=/dev/zero bs=1000 count=200 2>/dev/null | tr '\0' y
} >expected
tap_same 'console: and says it' "$(sum expected)" "$(sum out)"

# --- A named port: 4 MiB in, and twice as much out. Linux returns from a write before the host has it. ---

dd if=/dev/urandom of=in bs=64k count=64 2>/dev/null
piped 'port' "$CONSOLE; n=/sys/class/virtio-ports/vport0p1/name; until cat \$n; do sleep 0.1; done 2>&1;
	cd /tmp; exec 3<>/dev/vport0p1; busybox head -c 4194304 <&3 >all;
	busybox sha256sum <all; cat all all >&3; sleep 2" \
	--device virtio_console,port1=org.skep.test:stdio,packed=on
tap_says 'port: has its name' '^org.skep.test' console
tap_says 'port: all comes in' "^$(sum in)" console
cat in in >expected
tap_same 'port: and out' "$(sum expected)" "$(sum out)" messages

# --- The balloon: of 256 MiB, 150 were used when it comes. ---

FILL='busybox dd if=/dev/zero of=/tmp/x bs=1M count=100; rm /tmp/x'
FREE="awk '/^MemFree/ { print int(\$2 / 1024) }' /proc/meminfo"
WAIT="n=0; while [ \$n -lt 100 ] && [ \$($FREE) -ge 80 ]; do sleep 0.2; n=\$((n+1)); done"

# small NAME : the host has most of the guest's memory.
small() {
	bytes=$(sed -n 's/.*"guest_bytes": \([0-9]*\).*/\1/p' result.json)
	[ "$bytes" -gt 0 ] && [ "$bytes" -le 110000000 ]
	tap_result $? "$1 ($bytes)" messages console
}

linux 'balloon' '' "$FILL; $BALLOON; $WAIT; sleep 1; echo free \$($FREE)" --initrd "$MODULES" \
	--device virtio_balloon,size=128M,reporting=off,transport=mmio,deflate-on-oom=off
tap_same 'balloon: powered off' 0 "$status" messages console
small 'balloon: the host has its memory'

linux 'out of memory' '' "$BALLOON; $WAIT; echo free \$($FREE); mount -t tmpfs -o size=90% t /tmp;
	busybox dd if=/dev/zero of=/tmp/x bs=1M count=90 2>&1; wc -c </tmp/x; rm /tmp/x; sleep 1.5" \
	--initrd "$MODULES" --dump-state --device virtio_balloon,size=128M,reporting=off,stats=1
tap_same 'out of memory: powered off' 0 "$status" messages console
tap_says 'out of memory: the guest did without' '^free [1-7]?[0-9]' console
tap_says 'out of memory: and has it again' '^94371840' console
tap_says 'out of memory: it says how it is' 'memory_total = 0x[1-9a-f]' messages

linux 'reporting' '' "$BALLOON; $FILL; sleep 5; echo free \$($FREE)" --initrd "$MODULES" \
	--device virtio_balloon --dump-state
tap_same 'reporting: powered off' 0 "$status" messages console
small 'reporting: the host has what is free'
tap_says 'reporting: the guest has it too' '^free 1[0-9][0-9]' console
tap_says 'reporting: by the queue for it' 'bytes_reported = 0x[1-9a-f]' messages

tap_end
