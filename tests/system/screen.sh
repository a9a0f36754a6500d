#!/bin/sh
#
# Linux on a text screen: its console for VGAs scrolls by the start address, moves the cursor, and
# reads and writes text memory. Needs what linux.sh needs.

# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/system/linux.sh
. "${0%/*}/linux.sh"
cd "$scratch" || exit 1

# on_screen NAME COMMANDS OPTION… : the screen at the end goes to ./screen, COM1 to ./console.
on_screen() {
	name=$1 commands=$2
	shift 2
	on_screen_boot "$@"
	if linux_lost; then
		on_screen_boot "$@"
	fi
}

on_screen_boot() {
	status=0
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --memory 256M --timeout 100 \
		--serial file:console --display dump "$@" \
		--append "console=tty0 console=ttyS0 panic=-1 RUN=\"$commands\"" \
		>screen 2>messages || status=$?
}

on_screen 'a screen' 'dmesg | grep -w Console:; seq 100 130 >/dev/tty0'
tap_same 'a guest with a screen powers off' 0 "$status" messages console
tap_says 'its kernel has a VGA' 'Console: colour VGA\+ 80x25' console
tap_says 'what is written to the terminal is on the screen' '^130$' screen
tap_says 'so is what the kernel said last' 'reboot: Power down' screen
tap_same 'down to the line of the cursor' 24 "$(wc -l <screen)" screen
tap_same 'the screen has scrolled' 0 "$(grep -c -e 'Linux version' -e '^10[0-5]$' screen)" screen

# unasked : with the command line that a kernel gets when a person gives none.
unasked() {
	status=0
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --memory 256M --timeout 100 \
		--serial file:console --display dump >screen 2>messages || status=$?
}

unasked
[ "$status" = 0 ] || unasked
tap_same 'without a command line it powers off too' 0 "$status" messages console
tap_says 'and the screen is the console of user space' '^user space after' screen
tap_end
