#!/bin/sh
#
# What a person gets wrong, and what a host lacks: each costs one sentence on stderr, nothing on
# stdout, and the status that the manual promises. Needs SKEP, KERNEL and INITRD; /dev/kvm is only
# looked at. As root with BED=1 it also takes /dev/kvm away, so that is for the test bed.

: "${SKEP:?}" "${KERNEL:?}" "${INITRD:?}"
# shellcheck source=tests/system/tap.sh
. "${0%/*}/tap.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1

# mistake NAME STATUS PATTERN COMMAND… : PATTERN is an extended regular expression for the sentence.
mistake() {
	name=$1
	expected=$2
	pattern=$3
	shift 3
	status=0
	timeout 20 "$@" </dev/null >stdout 2>stderr || status=$?
	seen="status $status, $(wc -l <stderr) lines"
	[ ! -s stdout ] || seen="$seen, stdout"
	grep -qE -e "$pattern" stderr || seen="$seen, not the sentence"
	tap_same "$name" "status $expected, 1 lines" "$seen" stderr
}

# run OPTION… : with a kernel and an initrd that are right.
boots() {
	name=$1
	expected=$2
	pattern=$3
	shift 3
	mistake "$name" "$expected" "$pattern" \
		"$SKEP" run --kernel "$KERNEL" --initrd "$INITRD" --timeout 10 "$@"
}

kernel() {
	mistake "$1" 125 "$2" "$SKEP" run --kernel "$3" --timeout 10
}

# --- Words. ---

mistake 'a command that does not exist names the nearest' 125 "no command 'rnu'.*'run'" "$SKEP" rnu
mistake 'an option that does not exist names the nearest' 125 'no option --kernl.*--kernel' \
	"$SKEP" run --kernl x
mistake 'an option that is like none' 125 'no option --frobnicate' "$SKEP" run --frobnicate
mistake 'an option without its value' 125 '--memory needs a value' "$SKEP" run --memory
mistake 'an argument that nothing takes' 125 "no argument 'bzImage'" "$SKEP" run bzImage
mistake 'an expression that is none' 125 "--expect: 'a\(b' is no expression.*at byte 3" \
	"$SKEP" smoke --expect 'a(b'
mistake 'a time for nothing' 125 '--within: it belongs behind' "$SKEP" smoke --within 5
mistake 'a text with a backslash too many' 125 '--send: behind a backslash' \
	"$SKEP" smoke --send 'C:\dir'
mistake 'patterns that do not exist name the nearest' 125 "'lunix'.*'linux'" \
	"$SKEP" smoke --patterns lunix
mistake 'a script that does not exist' 125 'no.smoke: No such file' "$SKEP" smoke --script no.smoke
printf 'expect a\nsned b\n' >wrong.smoke
mistake 'a script with a mistake' 125 "wrong.smoke:2: there is no word 'sned'.*'send'" \
	"$SKEP" smoke --script wrong.smoke
mistake 'a command for no kernel' 125 '--exec is for a Linux kernel' "$SKEP" smoke --exec true
mistake 'a dump that cannot be written, in front of a judge' 125 'cannot write the dump /no/dump' \
	"$SKEP" smoke --dump /no/dump
mistake 'a folder that does not exist' 125 'folder no-folder: No such file' \
	"$SKEP" smoke --kernel "$KERNEL" --root no-folder --exec true
boots 'a key that does not exist names the nearest' 125 'sise.*size' -o memory.sise=1G
boots 'a key without a value' 125 'memory.size' -o memory.size
boots 'a device model that does not exist names the nearest' 125 'uart8520.*uart8250' \
	--device uart8520
boots 'an option that the device does not have names the nearest' 125 'bakend.*backend' \
	--device uart8250,bakend=none
boots 'a screen for a terminal that is none' 125 'no terminal.*--display dump' --display text
boots 'a display that does not exist' 125 "'txet' is none of none.dump.text" --display txet
mistake 'devices NAME that does not exist names the nearest' 125 'uart8520.*uart8250' \
	"$SKEP" devices uart8520

# --- Sizes and numbers. ---

boots 'no memory' 125 '0' --memory 0
boots 'memory that is no multiple of a page' 125 '268435457' --memory 268435457
boots 'memory that is no size' 125 '12Q' --memory 12Q
boots 'memory beyond what a machine can have' 125 '[Mm]emory|memory' --memory 64T
boots 'memory that overflows' 125 '99999999999T' --memory 99999999999T
boots 'no processor' 125 'cpus' --cpus 0
boots 'processors beyond what KVM can have' 125 'cpus|vCPU|processor' --cpus 100000
boots 'processors that are no number' 125 'two' --cpus two
boots 'processors that do not multiply out' 125 'cpus|sockets' --cpus 3,sockets=2
boots 'huge pages of a size that there is not' 125 '3M.*2M' --memory 256M,hugepages=3M
boots 'an interrupt chip that does not exist' 125 'slpit.*split' --irqchip slpit
boots 'a timeout that is no number' 125 'soon' --timeout soon

# --- Files. ---

head -c 1000 "$KERNEL" >truncated-early
head -c 1000000 "$KERNEL" >truncated-late
echo 'not a kernel' >text
: >empty
truncate -s 1G large
kernel 'a kernel that does not exist' '/no/such/kernel' /no/such/kernel
kernel 'a kernel that is a directory' '/tmp.*directory' /tmp
kernel 'a kernel cut within its header' 'truncated-early' truncated-early
kernel 'a kernel cut within its code' 'truncated-late.*truncated|truncated' truncated-late
kernel 'a text for a kernel' 'text' text
kernel 'an empty file for a kernel' 'empty' empty
kernel 'a device for a kernel' '/dev/null' /dev/null
boots 'a kernel that needs more memory says how much' 125 '[0-9]+ ?M' --memory 16M
mistake 'symbols of what is no ELF file' 125 'is no ELF file' \
	"$SKEP" run --symbols "$0"
mistake 'a dump where nothing can be written' 125 'cannot write the dump /no/such/core' \
	"$SKEP" run --dump /no/such/core
mistake 'a dump that is no file' 125 '/dev/null is no regular file' "$SKEP" run --dump /dev/null
mistake 'a post-mortem of a kind that does not exist' 125 "'ful' is none of off.short.full" \
	"$SKEP" run --post-mortem ful
mistake 'an initrd that does not exist' 125 '/no/such/initrd' \
	"$SKEP" run --kernel "$KERNEL" --initrd /no/such/initrd
mistake 'an initrd that is a directory' 125 '/tmp.*directory' \
	"$SKEP" run --kernel "$KERNEL" --initrd /tmp
boots 'an initrd that does not fit' 125 '(initrd|large).*[0-9]' --initrd large --memory 256M
boots 'a command line beyond what the kernel takes' 125 'command line|append' \
	--append "$(head -c 5000 /dev/zero | tr '\0' x)"
boots 'a serial file in a directory that does not exist' 125 '/no/such/directory/console' \
	--serial file:/no/such/directory/console
boots 'a serial file that is a directory' 125 '/tmp.*directory' --serial file:/tmp
boots 'a serial backend that does not exist' 125 'tty' --serial tty:1
boots 'a report in a directory that does not exist' 125 '/no/such/directory/result' \
	--result /no/such/directory/result

# shellcheck disable=SC2016 # it is for the shell there
mistake 'an answer that nobody can read' 125 'standard output: No space left' \
	sh -c '"$0" devices >/dev/full' "$SKEP"

# --- The host. ---

if [ -n "${BED-}" ]; then
	mv /dev/kvm /dev/kvm.away
	boots 'no /dev/kvm' 126 '/dev/kvm.*kvm_(intel|amd)'
	mknod /dev/kvm c 1 3
	boots '/dev/kvm that is something else' 126 '/dev/kvm'
	rm /dev/kvm
	mv /dev/kvm.away /dev/kvm
	chmod 600 /dev/kvm
	chmod 755 "$scratch"
	mistake 'no permission for /dev/kvm' 126 '/dev/kvm.*[Pp]ermission.*(group|kvm)' \
		su -s /bin/sh nobody -c "'$SKEP' run --kernel '$KERNEL' --initrd '$INITRD'"
	chmod 666 /dev/kvm
else
	tap_skip 'no /dev/kvm, another, no permission' 'not in the test bed'
fi

# --- Nothing is left behind. ---

rm -f stdout stderr truncated-early truncated-late text empty large wrong.smoke
tap_same 'no file is left behind' '' "$(ls -A)"
tap_same 'no process is left behind' '' "$(pidof skep)"

tap_end
