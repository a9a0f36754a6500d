# shellcheck shell=sh
#
# What the scripts of this directory share: a test a line, "ok NAME" or "not ok NAME", and what was
# seen below a failure. POSIX, for the shell of the test bed. Source it; call tap_end last.

tap_failures=0

# tap_result STATUS NAME [FILE…] : the files are shown below a failure.
tap_result() {
	tap_status=$1
	tap_name=$2
	shift 2
	if [ "$tap_status" -eq 0 ]; then
		echo "ok $tap_name"
		return 0
	fi
	echo "not ok $tap_name"
	tap_failures=$((tap_failures + 1))
	for tap_file; do
		echo "    $tap_file:"
		tail -n 40 "$tap_file" 2>/dev/null | sed 's/^/        /'
	done
	return 0
}

# tap_same NAME EXPECTED ACTUAL [FILE…]
tap_same() {
	tap_what=$1
	tap_expected=$2
	tap_actual=$3
	shift 3
	if [ "$tap_expected" = "$tap_actual" ]; then
		tap_result 0 "$tap_what"
	else
		tap_result 1 "$tap_what: expected '$tap_expected', got '$tap_actual'" "$@"
	fi
}

# tap_says NAME PATTERN FILE : some line of the file matches the extended regular expression.
tap_says() {
	if grep -qE -e "$2" "$3"; then
		tap_result 0 "$1"
	else
		tap_result 1 "$1: no line matches '$2'" "$3"
	fi
}

# tap_skip NAME REASON
tap_skip() {
	echo "ok $1 # SKIP $2"
}

tap_end() {
	[ "$tap_failures" -eq 0 ]
	exit
}
