#!/bin/sh
#
# Disks under Debian's own driver: a file system that outlives its machine, images that are read-only,
# overlaid, full or shrunk, a machine killed in the middle of its writes, and what a person gets wrong.
# Needs what linux.sh needs, MODULES, an initrd with the drivers, and e2fsprogs.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
small=$scratch/small
trap 'umount "$small" 2>/dev/null; rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1
if ! command -v mkfs.ext4 >/dev/null || ! command -v e2fsck >/dev/null; then
	tap_skip 'disks' 'there is no e2fsprogs'
	tap_end
fi

DRIVER='sh /modules/load; busybox insmod /modules/virtio_blk.ko'

# formatted FILE : an image with an empty file system.
formatted() {
	rm -f "$1"
	truncate -s 32M "$1"
	mkfs.ext4 -q "$1"
}

# checked NAME IMAGE : a file system that needs nothing but its journal.
checked() {
	e2fsck -fp "$2" >fsck 2>&1
	tap_result $(($? > 1)) "$1: the file system is whole" fsck
}

sum() {
	sha256sum <"$1"
}

# --- A file system, over both transports and both rings. ---

formatted image
linux 'written' '' "$DRIVER; mount /dev/vda /tmp && dd if=/dev/urandom of=/tmp/file bs=64k count=100;
	busybox sha256sum </tmp/file; busybox sha256sum </tmp/file >/tmp/sum; cat /sys/block/vda/serial;
	echo; cat /sys/block/vda/queue/write_cache; ls -d /sys/block/vda/mq/*; umount /tmp" \
	--initrd "$MODULES" --disk image,queues=2,serial=twice --cpus 2
tap_same 'written: powered off' 0 "$status" messages console
tap_says 'written: the driver knows the serial number' '^twice' console
tap_says 'written: and the cache' '^write back' console
tap_says 'written: two queues' '/mq/1' console
written=$(tr -d '\r' <console | grep -xE '[0-9a-f]{64}  -')
checked written image

linux 'read again' '' "$DRIVER; mount /dev/vda /tmp && busybox sha256sum </tmp/file; cat /tmp/sum;
	echo 'write through' >/sys/block/vda/queue/write_cache; busybox fstrim /tmp; umount /tmp" \
	--initrd "$MODULES" --disk image,transport=mmio,packed=on,cache=writethrough
tap_same 'read again: powered off' 0 "$status" messages console
tap_same 'read again: what was written' "$written $written " \
	"$(tr -d '\r' <console | grep -xE '[0-9a-f]{64}  -' | tr '\n' ' ')" console
checked 'read again' image

# --- Five disks: one may not be written, one forgets, one is full, one shrinks, one is a device. ---

if [ -n "${BED-}" ]; then
	mkdir "$small"
	mount -t tmpfs -o size=2M tmpfs "$small"
	full=$small/full
	truncate -s 32M "$full"
	before=$(sum image)
	truncate -s 8M shrinking
	modprobe brd rd_nr=1 rd_size=4096
	tr '\0' x </dev/zero | dd of=/dev/ram0 bs=64k count=64 iflag=fullblock 2>/dev/null
	(
		until grep -q '^shrink it' console 2>/dev/null; do
			sleep 0.2
		done
		truncate -s 4M shrinking
	) &
	shrinker=$!
	linux 'five disks' '' "$DRIVER; cd /dev; w='dd if=/dev/zero bs=64k conv=fsync';
		\$w of=vda count=1 2>&1; \$w of=vdb count=9 2>&1; \$w of=vdc count=99 2>&1;
		\$w of=vde count=5 2>&1; dd if=vdd of=/dev/null bs=1M 2>&1; echo shrink it; n=0;
		while [ \$n -lt 99 ] && dd if=vdd of=/dev/null bs=1M 2>/dev/null; do
		echo 3 >/proc/sys/vm/drop_caches; sleep 0.2; n=\$((n+1)); done; echo lost \$((n < 99));
		dd if=vdd of=/dev/null bs=1M count=1 2>&1; \$w of=vdb count=7 2>&1" \
		--initrd "$MODULES" --disk image,ro=on --disk image,overlay=temporary --disk "$full" \
		--disk shrinking --disk /dev/ram0,direct=on
	kill $shrinker 2>/dev/null
	wait $shrinker 2>/dev/null
	tap_same 'five disks: powered off' 0 "$status" messages console
	tap_says 'five disks: one cannot be written' "vda.*(not permitted|Read-only)" console
	tap_says 'five disks: one has an overlay' '^9\+0 records out' console
	tap_says 'five disks: one is full' "(vdc|writing).*(I/O error|Input/output)" console
	tap_says 'five disks: one was whole' '^8\+0 records out' console
	tap_says 'five disks: and then was not' '^lost 1' console
	tap_says 'five disks: what is left of it is there' '^1\+0 records out' console
	tap_says 'five disks: the others go on' '^7\+0 records out' console
	tap_says 'five disks: the person hears of the full one' \
		'disk2: cannot write .*/full at sector [0-9]+: No space left on device; the guest' messages
	tap_says 'five disks: and of the shorter one' 'disk3: cannot read shrinking' messages
	tap_same 'five disks: the image is as it was' "$before" "$(sum image)"
	tap_says 'five disks: one is a device' '^5\+0 records out' console
	tap_same 'five disks: the device has what was written' 3866624 \
		"$(tr -d '\0' </dev/ram0 | wc -c)"
	umount "$small"
else
	tap_skip 'five disks' 'not in the test bed'
fi

# --- Killed while it writes. ---

# killed NAME OPTION… : a guest that makes files, and syncs each, is killed; the next guest finds every
# file that it heard was there.
killed() {
	what=$1
	shift
	kill_one "$@"
	if [ "${last:-0}" -lt 30 ]; then
		repeated=$((repeated + 1))
		echo "# $what: once more, for it ended by itself: $(tail -n 1 messages)"
		kill_one "$@"
	fi
	linux "$what" '' "$DRIVER; mount /dev/vda /tmp; n=0; while n=\$((n+1)) &&
		grep -qx 'content of '\$n /tmp/\$n; do :; done; echo had \$((n-1)); umount /tmp" \
		--initrd "$MODULES" "$@"
	had=$(tr -d '\r' <console | sed -n 's/^had //p')
	[ "${last:-0}" -ge 30 ] && [ "${had:-0}" -ge "$last" ]
	tap_result $? "$what: all that was synced is there ($last, $had)" console.killed console
}

# kill_one OPTION… : leaves in $last what the guest heard last.
kill_one() {
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --initrd "$MODULES" --memory 256M \
		-o cpus.hide=kvm-pv-eoi \
		--timeout 100 "$@" --append "quiet console=ttyS0 RUN=\"$DRIVER; mount /dev/vda /tmp; n=0;
		while true; do n=\$((n+1)); echo content of \$n >/tmp/\$n; sync -d /tmp/\$n && sync /tmp &&
		echo synced \$n; done\"" </dev/null >console 2>messages &
	until grep -q '^synced 30' console 2>/dev/null || ! kill -0 $! 2>/dev/null; do
		sleep 0.1
	done
	kill -KILL $! 2>/dev/null
	wait $! 2>/dev/null
	last=$(tr -d '\r' <console | sed -n 's/^synced \([0-9]*\)$/\1/p' | tail -n 1)
	cp console console.killed
}

formatted image
before=$(sum image)
killed 'killed on an overlay' --disk image,overlay=overlay
tap_same 'killed on an overlay: the image is as it was' "$before" "$(sum image)"
killed 'killed on an image' --disk image
checked 'killed on an image' image

# --- What a person gets wrong. ---

# mistake NAME PATTERN OPTION… : one sentence, and status 125.
mistake() {
	name=$1
	pattern=$2
	shift 2
	status=0
	timeout 20 "$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" "$@" </dev/null >stdout 2>stderr ||
		status=$?
	seen="status $status, $(wc -l <stderr) lines"
	grep -qE -e "$pattern" stderr || seen="$seen, not the sentence"
	tap_same "$name" 'status 125, 1 lines' "$seen" stderr
}

: >empty
truncate -s 1000 uneven
truncate -s 1M disk
mistake 'an image that does not exist' 'disk0: cannot open the image /no/such/image: No such' \
	--disk /no/such/image
mistake 'an image that is a directory' 'image /tmp is a directory' --disk /tmp
mistake 'an image that is a terminal' '/dev/null is neither' --disk /dev/null
mistake 'an image that is empty' 'image empty is empty' --disk empty
mistake 'an image of no whole sectors' 'uneven has 1000 bytes' --disk uneven
mistake 'an image twice' 'disk is in use by another machine or process' --disk disk --disk disk
if [ -n "${BED-}" ]; then
	mkfs.ext4 -q /dev/ram0
	mkdir mounted
	mount /dev/ram0 mounted
	mistake 'a device that is mounted' '/dev/ram0 is in use by this host: it is mounted' \
		--disk /dev/ram0
	umount mounted
else
	tap_skip 'a device that is mounted' 'not in the test bed'
fi
mistake 'no image' 'path is missing' --disk ,ro=on
mistake 'an option that a disk does not have' 'cahe.*cache' --disk disk,cahe=unsafe
mistake 'an overlay for another image' 'belongs to an image of' --disk disk,overlay=overlay
mistake 'a file that is no overlay' 'not an overlay that skep made' --disk disk,overlay=uneven
mistake 'an overlay of a read-only disk' 'exclude each other' --disk disk,ro=on,overlay=x

tap_end
