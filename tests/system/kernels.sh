#!/bin/sh
#
# Debian's two kernels: the cloud's, which knows little hardware, and the generic one, which Debian
# installs on any PC. The generic one finds its processors by ACPI and by the MP table, and neither
# warns of anything on skep that it does not warn of on the PC of QEMU. Needs SKEP, KERNEL, GENERIC
# and INITRD; QEMU is the program to compare with.

: "${GENERIC:?}"
# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

# What kernels say when the host is too busy to keep their clocks together, on one boot and not on
# the next.
clocks='Unstable clock detected|using the local clock|trace_clock=local|on the kernel command line'
clocks="$clocks|Long readout interval|hrtimer: interrupt took|increased min_delta_ns"
clocks="$clocks|hpet: (Lost|HPET dysfunctional)|timekeeping watchdog|Marking clocksource"

# warnings FILE : what a console says that dmesg says at the level of a warning or above, without the
# times and the numbers.
warnings() {
	tr -d '\r' <"$1" | grep -aE '^<[0-4]>' | grep -avE "$clocks" |
		sed -e 's/^<[0-4]>\[[^]]*\] *//' -e 's/0x[0-9a-f]*/N/g' -e 's/[0-9][0-9]*/N/g' | sort -u
}

# reference PROCESSORS : leaves in theirs what the last kernel warns of on QEMU's PC.
reference() {
	for try in 1 2; do
		timeout 120 "$QEMU" -accel kvm -cpu host -machine pc -m 256M -smp "$1" -nodefaults \
			-no-user-config -display none -serial stdio -no-reboot \
			-kernel "$KERNEL" -initrd "$INITRD" \
			-append "console=ttyS0 quiet panic=-1 $parameters RUN=\"$commands\"" \
			</dev/null >reference 2>messages
		! grep -q '^user space after' reference || break
		[ $try = 2 ] || echo "# QEMU: once more: $(tail -n 1 messages)"
	done
	tap_says "$name: QEMU's PC gets there too" '^user space after' reference
	warnings reference >theirs
}

# compare PROCESSORS : the boot before, which ran dmesg -r, with QEMU's.
compare() {
	if [ -z "${QEMU-}" ]; then
		tap_skip "$name: no warning beyond those on QEMU's PC" 'there is no QEMU here'
		return
	fi
	warnings console >ours
	reference "$1"
	# Both are without doubles: what is there once now is ours alone.
	sort ours theirs theirs | uniq -u >beyond
	tap_same "$name: no warning beyond those on QEMU's PC" '' "$(cat beyond)" console
}

linux 'cloud kernel, 2 processors' '' 'dmesg -r' --cpus 2
tap_same 'cloud kernel: powered off' 0 "$status" messages console
compare 2

KERNEL=$GENERIC
for cpus in 1 2 8; do
	linux "generic kernel, processors: $cpus" '' 'uname -v' --cpus $cpus
	tap_same "generic kernel, processors: $cpus: powered off" 0 "$status" messages console
	tap_says 'all of them run' "^user space after .* $cpus processors" console
done
linux 'generic kernel, 4 processors' '' 'dmesg -r' --cpus 4
tap_same 'generic kernel, 4 processors: powered off' 0 "$status" messages console
tap_says 'all of them run' '^user space after .* 4 processors' console
# Through the processor's counters a guest would hear its neighbours.
tap_says 'no performance counters' 'PMU not available due to virtualization' console
compare 4

for chips in split kernel; do
	linux "MP table, $chips chips" 'acpi=off reboot=kbd' \
		'dmesg | grep MPTABLE; cat /proc/interrupts; reboot -f' --cpus 3 --irqchip $chips
	tap_same 'reset by the keyboard controller' 104 "$status" messages console
	tap_says 'the table is read' 'MPTABLE: OEM ID: SKEP' console
	tap_says 'all processors run' '^user space after .* 3 processors' console
	tap_says 'its interrupts are those of the IOAPIC' 'IO-APIC +4-edge +ttyS0' console
done

[ $repeated -le 2 ]
tap_result $? "boots that needed a second try: $repeated"
tap_end
