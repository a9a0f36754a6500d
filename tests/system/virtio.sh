#!/bin/sh
#
# Virtio devices under Debian's own drivers, over PCI and over MMIO: found, negotiated, interrupted in
# each way there is, unloaded and loaded again, and reset with the machine. Needs what linux.sh needs,
# and MODULES, an initrd with the drivers.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
: "${MODULES:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

# --- Entropy. ---

# 4,000 bytes are many requests; with zeroes as the source they are seen to be the host's.
RNG='dd if=/dev/hwrng of=/r bs=500 count=8 2>/dev/null; wc -c </r; tr -d \\000 </r | wc -c'
DRIVER='busybox insmod /modules/virtio-rng.ko'

# entropy NAME PARAMETERS PATTERN OPTION… : PATTERN is how its interrupts look in /proc/interrupts.
entropy() {
	what=$1 parameters=$2 pattern=$3
	shift 3
	linux "$what" "$parameters" \
		"sh /modules/load; $DRIVER; cat /sys/class/misc/hw_random/rng_current; $RNG;
		busybox rmmod virtio_rng; $DRIVER; $RNG; grep virtio /proc/interrupts" \
		--initrd "$MODULES" --lint "$@"
	tap_same "$what: powered off" 0 "$status" messages console
	tap_same "$what: breaks no rule of lint" '' "$(grep lint: messages)" messages
	tap_says "$what: the driver has it" '^virtio_rng.0' console
	tap_same "$what: read, twice" '4000 0 4000 0 ' \
		"$(tr -d '\r' <console | grep -xE '0|4000' | tr '\n' ' ')" console
	tap_says "$what: interrupts" "$pattern" console
}

zeroes=virtio_rng,source=/dev/zero
entropy 'over PCI' '' '[1-9][0-9]* +PCI-MSI.*virtio0-input' --device $zeroes
entropy 'over PCI, packed' '' 'PCI-MSI.*virtio0-input' --device $zeroes,packed=on
entropy 'over PCI, KVM'"'"'s chips' '' 'PCI-MSI.*virtio0-input' --device $zeroes --irqchip kernel
entropy 'over PCI, by its pin' pci=nomsi 'IO-APIC.*-fasteoi.*virtio0' --device $zeroes
entropy 'over PCI, by the 8259A' 'pci=nomsi noapic' 'XT-PIC.*virtio0' --device $zeroes
entropy 'over MMIO' '' 'IO-APIC +5-fasteoi +virtio0' --device $zeroes,transport=mmio
entropy 'over MMIO, packed' '' 'IO-APIC.*virtio0' --device $zeroes,transport=mmio,packed=on
entropy 'over MMIO, by the 8259A' noapic 'XT-PIC.*virtio0' --device $zeroes,transport=mmio

linux 'two devices, one worker' '' \
	"sh /modules/load; $DRIVER; cat /sys/class/misc/hw_random/rng_available;
	dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c" \
	--initrd "$MODULES" --workers 1 --device $zeroes --device virtio_rng,transport=mmio
tap_same 'two devices: powered off' 0 "$status" messages console
tap_says 'two devices: both are there' '^virtio_rng.0 virtio_rng.1' console

# --- The machine is reset while its devices are at work. ---

# It ends when it was in user space three times, however long that takes on this machine.
"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --initrd "$MODULES" --memory 256M --timeout 600 \
	-o cpus.hide=kvm-pv-eoi \
	--result result.json --device virtio_rng --device virtio_rng,transport=mmio --append "quiet \
	console=ttyS0 RUN=\"sh /modules/load; $DRIVER; cat /dev/hwrng >/dev/null & sleep 1; reboot -f\"" \
	</dev/null >console 2>messages &
pid=$!
for _ in $(seq 590); do
	[ "$(grep -c '^user space' console)" -lt 3 ] || break
	kill -0 "$pid" 2>/dev/null || break
	sleep 1
done
kill -TERM "$pid" 2>/dev/null
# One that does not hear is shown as it stands.
for _ in $(seq 60); do
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.5
done
if kill -0 "$pid" 2>/dev/null; then
	head -n 12 /proc/"$pid"/task/*/comm /proc/"$pid"/task/*/stack >>messages 2>&1
	kill -KILL "$pid"
fi
status=0
wait "$pid" || status=$?
tap_same 'ended in user space for the third time' 143 "$status" messages console
[ "$(sed -n 's/.*"resets": \([0-9]*\).*/\1/p' result.json)" -ge 2 ]
tap_result $? 'the machine is reset while its devices are at work' messages console

tap_end
