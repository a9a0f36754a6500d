#!/bin/sh
#
# The PC that stock kernels find: its chips, its processors, its resets. Debian's own kernel on both
# kinds of interrupt chips and with the parameters that make it use one part or leave it alone.
# Needs SKEP, KERNEL, INITRD as boot.sh does.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

# --- Processors, on both kinds of chips. ---

for chips in split kernel; do
	for cpus in 1 2 4 8; do
		linux "$chips chips, $cpus processors" '' 'cat /proc/interrupts' \
			--irqchip $chips --cpus $cpus
		tap_same "$chips chips, $cpus processors: powered off" 0 "$status" messages console
		tap_says "all of them run" "^user space after .* $cpus processors" console
	done
done
linux 'threads and cores' '' \
	'cd /sys/devices/system/cpu; cat cpu?/topology/thread_siblings_list | tr \\n \ ' \
	--cpus 8,sockets=2,cores=2,threads=2
tap_says 'the guest knows who shares a core' '^0-1 0-1 2-3 2-3 4-5 4-5 6-7 6-7' console

# --- One part or another. ---

linux 'without the IOAPIC' noapic 'cat /proc/interrupts'
tap_same 'noapic: powered off' 0 "$status" messages console
tap_says 'noapic: the serial port is on the 8259A' 'XT-PIC.*(ttyS0|serial)' console
linux 'without local APICs' nolapic 'cat /proc/interrupts'
tap_same 'nolapic: powered off' 0 "$status" messages console
tap_says 'nolapic: the 8254 ticks through the 8259A' '^ *0: +[1-9][0-9]+ +XT-PIC +timer' console
linux 'without ACPI' 'acpi=off reboot=kbd' 'cat /proc/interrupts; reboot -f' --cpus 2
tap_same 'acpi=off: reset by the keyboard controller' 104 "$status" messages console
# The cloud kernel is built without a reader of MP tables; the generic one has it.
tap_says 'acpi=off: on the 8259A' 'XT-PIC +timer' console
linux 'one processor of two' maxcpus=1 'true' --cpus 2
tap_same 'maxcpus=1: powered off' 0 "$status" messages console
tap_says 'maxcpus=1: one runs' '^user space after .* 1 processors' console
linux 'time from the 8254 alone' 'no-kvmclock notsc nolapic_timer clocksource=jiffies hpet=disable' \
	'cat /proc/interrupts; sleep 1'
tap_same 'the 8254 alone: powered off' 0 "$status" messages console
linux 'reset by port CF9h' 'reboot=pci' 'reboot -f'
tap_same 'CF9h: reset' 104 "$status" messages console
linux 'the clock' '' 'cat /sys/class/rtc/rtc0/name; hwclock -u -r; date -u +%Y'
tap_says 'the clock is found' '^rtc_cmos' console
tap_says 'the clock has the year' "^$(date -u +%Y)" console

# --- Again and again. ---

boots=0
while [ $boots -lt 20 ]; do
	linux "boot $boots with two processors" '' true --cpus 2 >said
	grep '^#' said
	if [ "$status" -ne 0 ] || ! grep -q '^ok' said; then
		break
	fi
	boots=$((boots + 1))
done
tap_same '20 boots with two processors' 20 $boots messages console
[ $repeated -le 4 ]
tap_result $? "boots that needed a second try: $repeated"

# What skep holds: descriptors, and memory beyond the guest's 64 MiB.
holding() {
	set -- "$1" "$(find "/proc/$1/fd" -type l | wc -l)" \
		"$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status")"
	echo "$2 $3"
}

"$SKEP" run --append 'quiet reset' --memory 64M --timeout 30 --result result.json \
	</dev/null >console 2>messages &
sleep 5
holding $! >early
sleep 22
holding $! >late
wait $! || true
resets=$(sed -n 's/.*"resets": \([0-9]*\).*/\1/p' result.json)
[ "${resets:-0}" -ge 100 ]
tap_result $? "at least 100 resets ($resets)" messages
# A reset makes a few anew, and one is always under way; one lost at each would be more than 100.
[ $(($(cut -d ' ' -f 1 late) - $(cut -d ' ' -f 1 early))) -lt 16 ]
tap_result $? "resets leave the descriptors where they were: $(cat early late | tr '\n' ' ')"
grown=$(($(cut -d ' ' -f 2 late) - $(cut -d ' ' -f 2 early)))
[ $grown -le 64 ]
tap_result $? "resets leave memory where it was (grown by $grown KiB)"

tap_end
