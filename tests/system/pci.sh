#!/bin/sh
#
# PCI under Debian's own kernel: the bus is found in each way there is, without a word of warning,
# and devices interrupt over it. Needs what linux.sh needs, and MODULES, an initrd with virtio drivers.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

# What a kernel says of PCI at the level of warnings and above, and what it found.
LOOK="dmesg -r | grep -v 'MPS support' | grep -iE '^<[0-4]>.*(pci|mmconfig|ecam|bar |resource)';
	dmesg | grep -E 'PCI|pci'; grep -h . /sys/bus/pci/devices/*/uevent"
# Reads the entropy device, which the host feeds.
RNG='sh /modules/load; busybox insmod /modules/virtio-rng.ko;
	dd if=/dev/hwrng bs=64 count=8 2>/dev/null | wc -c; grep virtio /proc/interrupts'

# bus NAME PARAMETERS STATUS PATTERN OPTION… : the kernel finds the two bridges, says PATTERN, and
# has nothing to complain of.
bus() {
	what=$1 parameters=$2 ends=$3 pattern=$4
	shift 4
	linux "$what" "$parameters" "$LOOK; $RNG; reboot -f" --initrd "$MODULES" \
		--device virtio_rng,addr=3 "$@"
	tap_same "$what: ends" "$ends" "$status" messages console
	tap_says "$what: the kernel says how" "$pattern" console
	tap_same "$what: no warning" '' "$(grep -aE '^<[0-4]>' console)"
	tap_same "$what: the functions" '0000:00:00.0 0000:00:01.0 0000:00:03.0 ' \
		"$(tr -d '\r' <console | sed -n 's/^PCI_SLOT_NAME=//p' | tr '\n' ' ')" console
	tap_says "$what: entropy arrives" '^512' console
}

# ports OPTION… : exits to user space that configuration by ports took in the last boot.
ports() {
	sed -n 's/.*"0xcf[8-f]": \([0-9]*\).*/\1/p' result.json | {
		sum=0
		while read -r n; do sum=$((sum + n)); done
		echo "# $what: $sum exits by the ports of configuration space"
	}
}

bus 'ACPI' '' 104 'PCI: MMCONFIG at \[mem 0xe0000000-0xe00fffff\] reserved in E820'
ports
tap_says 'ACPI: bus 0 alone' 'root bus resource \[bus 00\]' console
tap_says 'ACPI: the window below 4 GiB' 'root bus resource \[mem 0xe1000000-0xfdffffff window\]' console
tap_says 'ACPI: the window above RAM' 'root bus resource \[mem 0x100000000-0x.*window\]' console
bus 'without the IOAPIC' noapic 104 'XT-PIC +virtio|PCI-MSI.*virtio'
bus 'by the pin' pci=nomsi 104 'IO-APIC +19-fasteoi +virtio0'
bus 'by the pin and the 8259A' 'pci=nomsi noapic' 104 ' 11: .*XT-PIC.*virtio0'
bus 'by KVM'"'"'s IOAPIC' pci=nomsi 104 'IO-APIC +19-fasteoi +virtio0' --irqchip kernel
bus 'by KVM'"'"'s 8259A' 'pci=nomsi noapic' 104 ' 11: .*XT-PIC.*virtio0' --irqchip kernel
bus 'without ACPI' 'acpi=off noapic reboot=pci' 104 'PCI: Probing PCI hardware \(bus 00\)'
bus 'without ACPI, by the pin' 'acpi=off noapic pci=nomsi reboot=pci' 104 ' 11: .*XT-PIC.*virtio0'
bus 'by ports' pci=nommconf 104 'PCI: Using configuration type 1 for base access'
bus 'with memory above 4 GiB' '' 104 'root bus resource \[mem 0x140000000-0x.*window\]' --memory 4G

linux 'two functions in the last slot' '' "$LOOK; $RNG" --initrd "$MODULES" \
	--device virtio_rng,addr=1f.7 --device virtio_rng,addr=1f
tap_says 'function 0' '^PCI_SLOT_NAME=0000:00:1f.0' console
tap_says 'function 7' '^PCI_SLOT_NAME=0000:00:1f.7' console
tap_says 'both have a driver' 'virtio1-' console

linux 'no PCI at all' '' 'ls /sys/bus/pci/devices | wc -l' -o device.pci=none
tap_same 'no PCI at all: powered off' 0 "$status" messages console
tap_says 'no PCI at all: nothing is found' '^0' console
tap_same 'no PCI at all: and skep has nothing to say' '' "$(cat messages)"
linux 'no PCI at all, reset' '' 'reboot -f' -o device.pci=none
tap_same 'no PCI at all: the reset register of ACPI resets' 104 "$status" messages console

# refused NAME WORDS OPTION… : skep refuses it, and says why.
refused() {
	what=$1 words=$2
	shift 2
	"$SKEP" run "$@" --timeout 5 </dev/null >console 2>messages
	tap_says "$what" "$words" messages
}
refused 'a slot that is taken' 'PCI slot 1.0 is isa' --device virtio_rng,addr=1
refused 'a slot that is none' 'is no PCI address' --device virtio_rng,addr=20
refused 'a function without function 0' 'has no function 0' --device virtio_rng,addr=5.1
refused 'PCI without a host bridge' 'this machine has no PCI' -o device.pci=none --device virtio_rng

echo "# boots that were repeated: $repeated"
tap_end
