#!/bin/sh
#
# IDE disks under Debian's own driver, pata_legacy, which looks for them at their ports: a file system
# that outlives its machine, two channels, 28 and 48 bits, a disk that may not be written. Needs what
# linux.sh needs, MODULES, an initrd with the drivers, and e2fsprogs.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1
if ! command -v mkfs.ext4 >/dev/null || ! command -v e2fsck >/dev/null; then
	tap_skip 'IDE disks' 'there is no e2fsprogs'
	tap_end
fi

# shellcheck disable=SC2016 # they are the guest's variables
DRIVER='for m in scsi_common scsi_mod sd_mod libata pata_legacy; do busybox insmod /modules/$m.ko; done;
	for n in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sda ] || sleep 1; done'
# Whatever the driver was not happy with.
COMPLAINTS='lost interrupt|Emask|failed command|qc timeout|I/O error|hard resetting|softreset failed'

sums() {
	tr -d '\r' <console | grep -xE '[0-9a-f]{64}  -' | tr '\n' ' '
}

# quiet NAME : the driver had nothing to complain of.
quiet() {
	grep -E "$COMPLAINTS" console >complaints
	tap_same "$1: no complaints" '' "$(cat complaints)" console
}

truncate -s 16M image
mkfs.ext4 -q image
linux 'written' '' "$DRIVER; mount /dev/sda /tmp && dd if=/dev/urandom of=/tmp/file bs=64k count=1;
	busybox sync; busybox sha256sum </tmp/file; busybox sha256sum </tmp/file >/tmp/sum; umount /tmp;
	cat /sys/block/sda/device/model; cat /sys/class/scsi_disk/*/cache_type; busybox dmesg" \
	--initrd "$MODULES" --disk image,model=ide
tap_same 'written: powered off' 0 "$status" messages console
tap_says 'written: the model' '^skep disk' console
tap_says 'written: the cache' '^write back' console
tap_says 'written: what the driver makes of it' 'ata1.00: 32768 sectors, multi 16: LBA48' console
quiet 'written'
written=$(sums)
e2fsck -fp image >fsck 2>&1
tap_result $(($? > 1)) 'written: the file system is whole' fsck

# A terabyte, whose end 28 bits do not reach.
truncate -s 1024G large
linux 'read again' '' "$DRIVER; mount -o ro /dev/sda /tmp && busybox sha256sum </tmp/file;
	cat /tmp/sum; umount /tmp; cd /dev; cat /sys/block/sdb/size;
	dd if=/dev/urandom of=/tmp/part bs=512 count=8;
	dd if=/tmp/part of=sdb bs=512 seek=2147483640 conv=fsync && echo last;
	busybox sha256sum </tmp/part; busybox dmesg" \
	--initrd "$MODULES" --disk image,model=ide --disk large,model=ide,cache=writethrough
tap_same 'read again: powered off' 0 "$status" messages console
tap_same 'read again: what was written' "$written$written" "$(sums | cut -d ' ' -f 1-6) " console
tap_says 'read again: the size of the second' '^2147483648' console
tap_says 'read again: the last sectors of the second' '^last' console
tap_same 'read again: are there' "$(sums | cut -d ' ' -f 7)" \
	"$(tail -c 4096 large | sha256sum | cut -d ' ' -f 1)" console
quiet 'read again'

before=$(sha256sum <image)
linux 'read-only' '' "$DRIVER; dd if=/dev/zero of=/dev/sda bs=512 count=1 conv=fsync || echo refused;
	dd if=/dev/sda bs=512 skip=2 count=2 of=/tmp/x && echo read;
	cat /sys/block/sdb/size; dd if=/dev/sdb bs=512 skip=2147483640 | busybox sha256sum" \
	--initrd "$MODULES" --disk image,model=ide,ro=on,path1=large
tap_same 'read-only: powered off' 0 "$status" messages console
tap_says 'read-only: writes are refused' '^refused' console
tap_says 'read-only: reads are not' '^read' console
tap_says 'read-only: device 1' '^2147483648' console
tap_same 'read-only: what is at its end' "$(tail -c 4096 large | sha256sum) " "$(sums)" console
tap_same 'read-only: the image is as it was' "$before" "$(sha256sum <image)"

"$SKEP" run --disk image,model=ide,ro=on --disk image --disk large,model=ide --print-config >console
tap_same 'channels are dealt out' 'ide 0 virtio_blk ide 1 ' \
	"$(sed -n 's/^device\.disk[0-9]\(\.channel\)* = //p' console | tr '\n' ' ')" console
"$SKEP" run --disk image,model=ide --disk large,model=ide --disk image,model=ide,ro=on \
	>console 2>messages
tap_same 'a third disk' 125 $?
tap_says 'a third disk: there is no third channel' 'device.disk2.channel' messages

tap_end
