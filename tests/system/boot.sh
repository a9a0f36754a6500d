#!/bin/sh
#
# Debian's own kernel, booted to user space in many ways, and every way a machine ends. Needs SKEP,
# KERNEL, INITRD (tools/mkinitramfs), EXTRA (an initrd that holds /etc/extra) and a /dev/kvm that
# runs stock kernels; ASAN is a sanitized skep, where there is one.

: "${SKEP:?}" "${KERNEL:?}" "${INITRD:?}" "${EXTRA:?}"
# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1

# guest COMMANDS OPTION… : boot, run COMMANDS in the guest's shell, power off. Leaves status, the
# console and the messages.
guest() {
	start "$@"
	finish
}

# start COMMANDS OPTION… : the same, not waiting for the end. $! is skep; its stdin is 4, because a
# shell gives what it starts in the background none.
exec 4</dev/null
start() {
	commands=$1
	shift
	rm -f result.json
	"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --timeout 120 \
		--append "console=ttyS0 quiet panic=-1 RUN=\"$commands\"" --result result.json "$@" \
		<&4 >console 2>messages &
}

# finish : wait for what was started; skep itself sees to the time.
finish() {
	status=0
	wait $! || status=$?
}

# await FILE PATTERN [COUNT] : until the guest has said it, so many times.
await() {
	tries=0
	until [ "$(grep -cE -e "$2" "$1" 2>/dev/null)" -ge "${3-1}" ] || [ $tries -ge 120 ]; do
		sleep 0.5
		tries=$((tries + 1))
	done
}

# verdict NAME STATUS WORD : how the last guest ended.
verdict() {
	word=$(sed -n 's/.*"verdict": "\([^"]*\)".*/\1/p' result.json)
	tap_same "$1" "$2 $3" "$status $word" messages console
}

says() {
	tap_says "$1" "$2" console
}

# --- To user space. ---

guest 'cat /proc/iomem; ls /dev/ttyS0' --memory 256M
verdict 'a stock kernel reaches user space and powers off' 0 poweroff
says 'one processor' '^user space after .* 1 processors'
says 'the first serial port is there' '^/dev/ttyS0'
tap_same 'and skep has nothing to say' '' "$(cat messages)"

guest 'nproc; cat /proc/interrupts; taskset 2 true && echo second runs' --memory 256M --cpus 2
verdict 'two processors' 0 poweroff
says 'both are online' '^user space after .* 2 processors'
says 'the second runs programs' '^second runs'

guest 'cd /sys/devices/system/cpu; cat cpu?/topology/physical_package_id | tr -d \\n; echo of 4' \
	--memory 256M --cpus 4,sockets=2,cores=2
verdict 'four processors in two sockets' 0 poweroff
says 'the guest knows which is where' '^0011of 4'

guest 'free -m' --memory 128M
verdict '128 MiB of memory' 0 poweroff
says 'the guest has no more than that' 'processors, (8|9|10|11|12)[0-9]? MiB|processors, 1[0-2][0-9] MiB'

guest 'cat /proc/iomem' --memory 6G
verdict '6 GiB of memory' 0 poweroff
says 'the guest has all of them' 'processors, (5[6-9][0-9][0-9]|6[01][0-9][0-9]) MiB'
says 'half of them above 4 GiB' '^100000000-1bfffffff : System RAM'

if [ -n "${BED-}" ]; then
	pages=/sys/kernel/mm/hugepages/hugepages-2048kB
	echo 160 >$pages/nr_hugepages
	guest "grep -c . /proc/meminfo" --memory 256M,hugepages=2M,prealloc=on
	verdict 'memory of huge pages' 0 poweroff
	tap_same 'the host has them back' "160 160" \
		"$(cat $pages/nr_hugepages) $(cat $pages/free_hugepages)"
	echo 0 >$pages/nr_hugepages
else
	tap_skip 'memory of huge pages' 'not in the test bed'
fi

guest 'cat /etc/extra' --memory 256M --initrd "$EXTRA"
verdict 'two initrds' 0 poweroff
says 'both are unpacked' '^the second initrd'

guest 'cat /proc/cmdline' --memory 256M
says 'the command line arrives whole' '^console=ttyS0 quiet panic=-1 RUN="cat /proc/cmdline"'

# --- The console. ---

guest 'seq 1 3000' --memory 256M
sed -n '/^1\r*$/,/^3000\r*$/p' console | tr -d '\r' >numbers
seq 1 3000 >expected
cmp -s numbers expected
tap_result $? 'thousands of lines arrive whole and in order' numbers

guest 'echo to the file' --memory 256M --serial file:serial.log
verdict 'a console in a file' 0 poweroff
tap_says 'holds what the guest said' '^to the file' serial.log
tap_same 'and stdout stays empty' '' "$(cat console)"

guest 'echo lost; seq 1 100' --memory 256M --serial file:/dev/full
verdict 'a full disk under the console does not end the guest' 0 poweroff
tap_says 'and the person is told' '/dev/full.*No space left' messages
lines=$(wc -l <messages)
tap_result $((lines > 4)) "in few lines ($lines)" messages

mkfifo keyboard
exec 3<>keyboard
exec 4<keyboard
# shellcheck disable=SC2016 # for the guest's shell
start 'echo ready; read -r line; echo got: $line' --memory 256M
await console '^ready'
echo 'typed by hand' >&3
finish
exec 3>&- 4</dev/null
verdict 'a guest that waits for input' 0 poweroff
says 'reads what is typed' '^got: typed by hand'

# --- How a machine ends. ---

# demo NAME WORD STATUS VERDICT : the built-in guest ends as the word on its command line says.
demo() {
	status=0
	"$SKEP" run --append "quiet $2" --timeout 8 --on-reset exit --result result.json \
		</dev/null >console 2>messages || status=$?
	verdict "$1" "$3" "$4"
	tap_same "$1: it says so in one line at most, and perhaps why" '' \
		"$(sed '1d; /^--- post-mortem/,/^---$/d' messages)"
}

demo 'code 0 of the guest' exit=0 0 code
demo 'code 42 of the guest' exit=42 42 code
demo 'the largest code of a guest' exit=99 99 code
demo 'a code beyond it' exit=200 99 code
demo 'the demo guest powers off' poweroff 0 poweroff
demo 'the demo guest asks for a reset' reset 104 reset
demo 'a triple fault' triple 102 triple-fault
demo 'a guest that spins' spin 124 timeout
demo 'a guest that waits for ever' idle 124 timeout
demo 'a guest that halts for good' halt 105 hang

guest 'reboot -f' --memory 256M --on-reset exit
verdict 'Linux asks for a reset' 104 reset

start 'reboot -f' --memory 256M
await console '^user space' 2
kill -TERM $!
finish
tap_same 'a machine reboots in place' 2 "$(grep -c '^user space' console | sed 's/[3-9]/2/')" \
	messages console
says 'and its second boot is as whole as the first' '^user space.* 1 processors'

guest 'sleep 1000' --memory 256M --timeout 8
verdict 'the time of a Linux guest runs out' 124 timeout

start 'echo up; sleep 1000' --memory 256M
await console '^up'
kill -TERM $!
finish
tap_same 'a signal ends skep' 143 "$status" messages
tap_says 'which says so' 'signal 15|Terminated|SIGTERM' messages

lost=0
for i in 1 2 3 4 5 6 7 8 9 10; do
	"$SKEP" run --append 'quiet reset' --timeout 20 </dev/null >console 2>messages &
	sleep 0.$i
	kill -TERM $!
	finish
	[ $status -eq 143 ] || lost=$((lost + 1))
done
tap_same 'nor does a signal get lost among resets' 0 $lost messages

# --- A sanitized skep. ---

if [ -n "${ASAN-}" ]; then
	SKEP=$ASAN
	guest 'seq 1 100; taskset 2 true' --memory 256M --cpus 2 --initrd "$EXTRA"
	verdict 'a sanitized skep boots two processors' 0 poweroff
	tap_same 'and finds nothing' '' "$(cat messages)"
else
	tap_skip 'a sanitized skep' 'no sanitized build was given'
fi

rm -f console messages result.json numbers expected serial.log keyboard
tap_same 'no file is left behind' '' "$(ls -A)"
tap_same 'no process is left behind' '' "$(pidof skep skep.asan)"

tap_end
