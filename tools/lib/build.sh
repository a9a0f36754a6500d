# shellcheck shell=bash
#
# Building skep and reading its reports: what tools/quickstart and tools/check share. Source
# common.sh first.

# compiler_need : what the binary is built with.
compiler_need() {
	apt_need 'the compiler, the build tools and the libraries that skep is built with' \
		gcc libc6-dev cmake ninja-build pkg-config liburing-dev libjansson-dev libcapstone-dev \
		libseccomp-dev libcap-ng-dev \
		nettle-dev libpcre2-dev libarchive-dev libelf-dev libdw-dev libdeflate-dev liblzma-dev libbz2-dev liblzo2-dev liblz4-dev libzstd-dev \
		libcmocka-dev
}

# seconds_since EPOCHREALTIME : with one decimal.
seconds_since() {
	awk -v a="${1/,/.}" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.1f", b - a }'
}

# json_flat : JSON on stdin as lines of "key.key<TAB>value". Well-formed input is taken for granted.
json_flat() {
	awk '
	{ text = text $0 "\n" }
	END {
		while (match(text, /"(\\.|[^"\\])*"|[][{},:]|[^][{},: \t\n"]+/)) {
			token = substr(text, RSTART, RLENGTH)
			text = substr(text, RSTART + RLENGTH)
			if (token == "{" || token == "[") {
				prefix[++depth] = path "."
				list[depth] = token == "["
				n[depth] = 0
				path = prefix[depth] (list[depth] ? 0 : "")
				wait = !list[depth]
			} else if (token == "}" || token == "]") {
				path = prefix[depth]
				sub(/\.$/, "", path)
				depth--
			} else if (token == ",") {
				path = prefix[depth] (list[depth] ? ++n[depth] : "")
				wait = !list[depth]
			} else if (token == ":") {
				wait = 0
			} else {
				if (token ~ /^"/) {
					token = substr(token, 2, length(token) - 2)
					gsub(/\\"/, "\"", token)
					gsub(/\\n/, " ", token)
					gsub(/\\\\/, "\\", token)
				}
				if (wait)
					path = prefix[depth] token
				else
					print substr(path, 2) "\t" token
			}
		}
	}'
}
