#!/bin/sh
#
# Network cards under Debian's own driver, on taps: TCP both ways over both transports and both rings,
# a capture, and a tap that is removed while the guest runs. Needs what linux.sh needs, MODULES, an
# initrd with the drivers, and a host whose interfaces may be changed.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1
if [ -z "${BED-}" ]; then
	tap_skip 'networks' 'the interfaces of this host are left alone'
	tap_end
fi
modprobe tun

# shellcheck disable=SC2016 # it is for the shell in the guest
DRIVER='sh /modules/load; for m in failover net_failover virtio_net; do
	busybox insmod /modules/$m.ko; done;
	busybox ip addr add 10.9.0.2/24 dev eth0; busybox ip link set eth0 up'

# addressed NAME : gives the tap an address as soon as skep has made it.
addressed() {
	while [ ! -e "/sys/class/net/$1" ]; do
		usleep 50000
	done
	ip addr add 10.9.0.1/24 dev "$1"
}

dd if=/dev/urandom of=file bs=64k count=64 2>/dev/null
sum=$(sha256sum <file)

# transfers NAME OPTION… : the file to the guest and back.
transfers() {
	transfer=$1
	shift
	addressed tap0 &
	helper=$!
	nc -l -p 5001 <file >/dev/null &
	giver=$!
	# The first end whose input is over ends both, so only the sender's is.
	sleep 100 | nc -l -p 5002 >back &
	taker=$!
	linux "$transfer" '' "$DRIVER; busybox ping -c 2 10.9.0.1;
		busybox nc 10.9.0.1 5001 >/tmp/file; busybox sha256sum </tmp/file;
		busybox nc 10.9.0.1 5002 </tmp/file; cat /sys/class/net/eth0/statistics/rx_errors" \
		--initrd "$MODULES" --net "tap=tap0,$transfer" "$@"
	sleep 1
	kill $helper $giver $taker 2>/dev/null
	tap_same "$transfer: powered off" 0 "$status" messages console
	tap_says "$transfer: ping" '^2 packets transmitted, 2 packets received' console
	tap_says "$transfer: to the guest" "^$sum" console
	tap_same "$transfer: from the guest" "$sum" "$(sha256sum <back)" console
	[ ! -e /sys/class/net/tap0 ]
	tap_result $? "$transfer: the tap went with skep"
}

transfers 'packed=off,pcap=capture'
[ "$(wc -c <capture)" -ge 1000000 ]
tap_result $? 'there is a capture'
tap_same 'and begins as one' '4d3cb2a1' "$(dd if=capture bs=4 count=1 2>/dev/null | od -An -tx1 | tr -d ' ')"
transfers 'transport=mmio,packed=on'
transfers 'queues=2,mtu=9000' --cpus 2

# --- A tap that goes. ---

(
	addressed tap0
	while ! grep -q '^ready' console; do
		usleep 100000
	done
	ip link del tap0
) &
linux 'a removed tap' '' "$DRIVER; echo ready;
	while [ \$(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 100000; done; echo no carrier" \
	--initrd "$MODULES" --net tap=tap0
tap_same 'a removed tap: the guest ran on' 0 "$status" messages console
tap_says 'a removed tap: the guest saw it' '^no carrier' console
tap_says 'a removed tap: the person was told' 'net0: the tap tap0 was removed' messages

# --- What a person gets wrong. ---

"$SKEP" run --net tap=lo >console 2>messages
tap_same 'no tap: refused' 125 $? messages
tap_says 'no tap: why' 'the interface lo is no tap' messages

tap_end
