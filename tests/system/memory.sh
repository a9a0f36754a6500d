#!/bin/sh
#
# What the host sees of a guest's memory, by the options of --memory. Needs what linux.sh needs, and
# MODULES, an initrd with the drivers; with BED=1 the host's settings may be changed.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

# kib FIELD : of skep's status.
kib() {
	sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$!/status"
}

# at_least NAME WHAT-IT-IS LOWER-BOUND, at_most
at_least() {
	[ "$2" -ge "$3" ]
	tap_result $? "$1 ($2)"
}

at_most() {
	[ "$2" -le "$3" ]
	tap_result $? "$1 ($2)"
}

# flags : of the mappings that can only be the guest's memory, for their size.
flags() {
	awk '/^Size:/ { size = $2 } /^VmFlags:/ && size > 100000 { print }' "/proc/$!/smaps"
}

# --- As it comes. ---

linux_stays 'sparse' --memory 6G
at_most 'the host gives what the guest uses' "$(kib VmRSS)" 600000
tap_same 'and locks nothing' 0 "$(kib VmLck)"
linux_ends

# --- All at once, and for good. ---

limit=$(awk '/^Max locked memory/ { print $4 }' /proc/self/limits)
if [ "$limit" = unlimited ]; then
	linux_stays 'taken and wired' --memory 128M,prealloc=on,wired=on
	at_least 'the host has given all of it' "$(kib VmRSS)" 131072
	at_least 'and does not take it back' "$(kib VmLck)" 131072
	linux_ends
else
	tap_skip 'taken and wired' "no more than $limit bytes may be"
fi

# --- With others. ---

linux_stays 'shared' --memory 128M,shared=on
flags >seen
tap_says 'the mapping is a shared one' ' sh ' seen
grep 'rw-s.*guest memory' "/proc/$!/maps" >seen
tap_says 'of a file without a name' 'memfd:guest memory' seen
linux_ends

# --- With whoever has the same. ---

merging() {
	cat /sys/kernel/mm/ksm/pages_sharing
}

linux_stays 'merged' --memory 128M,merge=on,prealloc=on
flags >seen
tap_says 'the host may merge it' ' mg( |$)' seen
if [ -n "${BED-}" ]; then
	echo 2000 >/sys/kernel/mm/ksm/pages_to_scan
	echo 1 >/sys/kernel/mm/ksm/run
	tries=0
	until [ "$(merging)" -ge 1000 ] || [ $tries -ge 120 ]; do
		sleep 0.5
		tries=$((tries + 1))
	done
	at_least 'and does' "$(merging)" 1000
	echo 2 >/sys/kernel/mm/ksm/run
	tap_same 'and takes it apart again' 0 "$(merging)"
	kill -0 $!
	tap_result $? 'with the guest none the wiser' messages
else
	tap_skip 'and does' 'not in the test bed'
fi
linux_ends

# --- In huge pages, which go back to the host as the guest frees them. ---

pool=/sys/kernel/mm/hugepages/hugepages-2048kB

# unused FILE : when the guest says so, how many huge pages nobody has.
unused() {
	until grep -qs '^free now' console; do
		sleep 0.2
	done
	cat $pool/free_hugepages >"$1"
}

if [ -n "${BED-}" ]; then
	echo 3 >/proc/sys/vm/drop_caches
	echo 128 >$pool/nr_hugepages
	fill='dd if=/dev/zero of=/tmp/x bs=1M count=100 2>&1; rm /tmp/x'
	rm -f console
	unused seen &
	helper=$!
	linux 'huge' '' "sh /modules/load; busybox insmod /modules/virtio_balloon.ko; $fill; sleep 5;
		echo free now; sleep 2; $fill; echo and again" --initrd "$MODULES" \
		--memory 256M,hugepages=2M --device virtio_balloon
	kill $helper 2>/dev/null
	tap_same 'huge: powered off' 0 "$status" messages console
	at_least 'huge: the host has what the guest freed' "$(cat seen)" 40
	tap_says 'huge: and gives it again' '^and again' console
	echo 0 >$pool/nr_hugepages
else
	tap_skip 'huge' 'not in the test bed'
fi

at_most 'boots that needed a second try' "$repeated" 2
tap_end
