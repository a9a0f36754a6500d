# shellcheck shell=sh
#
# How scripts of this directory boot Linux once and look at what came of it. POSIX, for the shell of
# the test bed. Source it behind tap.sh, in a directory of the script's own.
#
# The bed's emulated processors lose a boot now and then under any monitor, one with many interrupts
# sooner: QEMU keeps the vector that VMRUN injected until the guest's next exit (exception_index, left
# set for SVM_EVTINJ_TYPE_INTR in target/i386/tcg/system/svm_helper.c), and if QEMU itself has
# something to do before that, it delivers the vector once more, as an exception, to a guest that has
# interrupts off. That ends in a triple fault, or waits for ever for a lock of its own. Guests here
# have no paravirtual end of interrupt, so that each handler exits early. What ends before user
# space, in a triple fault or by its time has a second try, which is told and counted in $repeated.

: "${SKEP:?}" "${KERNEL:?}" "${INITRD:?}"
repeated=0

# linux NAME PARAMETERS COMMANDS OPTION… : boots and powers off, or asks for a reset where the
# parameters leave the kernel no power switch. Leaves status, console and messages.
linux() {
	name=$1 parameters=$2 commands=$3
	shift 3
	linux_boot "$@"
	if linux_lost; then
		linux_boot "$@"
	fi
	tap_says "$name: user space" '^user space after' console
}

linux_boot() {
	status=0
	rm -f result.json
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --memory 256M --timeout 120 \
		-o cpus.hide=kvm-pv-eoi --on-reset exit --result result.json \
		--append "console=ttyS0 quiet panic=-1 $parameters RUN=\"$commands\"" "$@" \
		</dev/null >console 2>messages || status=$?
}

linux_lost() {
	! grep -q '^user space after' console || [ "$status" = 102 ] || [ "$status" = 124 ] || return
	repeated=$((repeated + 1))
	echo "# $name: once more, for it ended with $status: $(tail -n 1 messages)"
}

# linux_stays NAME OPTION… : boots and stays up, until linux_ends; $! is skep.
linux_stays() {
	name=$1 status=''
	shift
	linux_start "$@"
	if ! linux_is_up; then
		status=none
		linux_ends
		linux_lost && linux_start "$@" && linux_is_up
	fi
	tap_says "$name: user space" '^user space after' console
}

linux_start() {
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --timeout 120 -o cpus.hide=kvm-pv-eoi \
		--append 'console=ttyS0 quiet panic=-1 RUN="echo up; sleep 1000"' "$@" \
		</dev/null >console 2>messages &
}

linux_is_up() {
	while kill -0 $! 2>/dev/null; do
		! grep -q '^up' console || return 0
		sleep 0.2
	done
	return 1
}

linux_ends() {
	kill -TERM $! 2>/dev/null
	wait $! || true
}
