# shellcheck shell=bash
#
# What skep's tools share: messages, and the installation of Debian packages on demand.
#
# Source it after setting TOOL to the name that the messages begin with. Nothing here acts when it
# is sourced. Messages go to stderr, so that a tool's stdout is its result alone.

say() {
	printf '%s: %s\n' "${TOOL:-skep}" "$*" >&2
}

# die STATUS MESSAGE
die() {
	local status=$1
	shift
	say "$*"
	exit "$status"
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# Where tools keep what takes long to fetch or build; always safe to delete.
cache_dir() {
	printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/skep"
}

# as_root COMMAND… : run it as root, through sudo where that is needed.
as_root() {
	if ((EUID == 0)); then
		"$@"
	elif have sudo; then
		sudo -- "$@"
	else
		die 125 "need root for: $* — run this as root or install sudo"
	fi
}

# installed PACKAGE
installed() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# apt_get ARGUMENT… : apt-get that asks nothing, waits for another apt and stays off stdout.
apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o APT::Install-Recommends=false "$@" >&2
}

# apt_need WHY PACKAGE… : see to it that the packages are there. Costs no apt call when they are.
apt_need() {
	local why=$1 missing=() package
	shift
	for package; do
		installed "$package" || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	have apt-get || die 125 "need ${missing[*]} ($why); this is no Debian system, install them by hand"
	say "installing ${missing[*]}: $why"
	apt_get install "${missing[@]}" && return 0
	say "once more with fresh package lists"
	apt_get update || say "not every package list could be refreshed"
	apt_get install "${missing[@]}" || die 125 "apt-get could not install ${missing[*]} ($why)"
}

# command_need WHY COMMAND PACKAGE : the package, unless something else brought the command already.
command_need() {
	have "$2" || apt_need "$1" "$3"
}
