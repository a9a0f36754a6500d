# shellcheck shell=bash
#
# The three Debian parts that the test bed and the benchmarks are made of: QEMU, a kernel with its
# modules, and busybox. Source common.sh first.
#
# shellcheck disable=SC2034

QEMU=qemu-system-x86_64
# The first version whose SVM emulation does not stumble over interrupted guests.
QEMU_GOOD=10

# The major version of the QEMU that is installed, or nothing.
qemu_major() {
	local line
	have "$QEMU" || return 0
	line=$("$QEMU" --version | head -n 1)
	line=${line#*version }
	printf '%s\n' "${line%%.*}"
}

qemu_version() {
	"$QEMU" --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p'
}

# The machine's own Debian mirror: the address that serves this release.
debian_mirror() {
	apt-get indextargets --format "\$(RELEASE) \$(REPO_URI)" 'Identifier: Packages' |
		awk -v release="$1" '$1 == release { print $2; exit }'
}

# Install QEMU from the release's backports through package lists of our own: the machine's apt
# sources stay as they are, and so does what a later apt-get of the machine sees.
qemu_from_backports() {
	local release=$1 dir mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	local options status=0
	mirror=$(debian_mirror "$release")
	[[ -n $mirror ]] || return 1
	dir=$(mktemp -d)
	chmod 755 "$dir"
	mkdir -p "$dir/sources" "$dir/lists/partial"
	{
		printf 'Types: deb\nURIs: %s\n' "$mirror"
		printf 'Suites: %s %s-updates %s-backports\nComponents: main\n' \
			"$release" "$release" "$release"
		[[ ! -r $keyring ]] || printf 'Signed-By: %s\n' "$keyring"
	} >"$dir/sources/skep.sources"
	# What the machine has fetched already need not be fetched again.
	cp -r /var/lib/apt/lists/. "$dir/lists/" 2>/dev/null || true
	options=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$dir/sources"
		-o "Dir::State::lists=$dir/lists" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
		-o "APT::Sandbox::User=root" -o "Acquire::Retries=2" -o "Acquire::http::Timeout=20")
	if apt_get "${options[@]}" -o APT::Update::Error-Mode=any update; then
		apt_get "${options[@]}" -t "$release-backports" install \
			qemu-system-x86 qemu-system-common qemu-system-data || status=1
	else
		status=1
	fi
	as_root rm -rf "$dir"
	return "$status"
}

# qemu_need WHY : a QEMU, a good one where it can be had. A refusal of the backports is remembered
# for a day, so that a machine without them does not pay for the question at every start.
qemu_need() {
	local why=$1 major release refused
	major=$(qemu_major)
	[[ -z $major ]] || ((major < QEMU_GOOD)) || return 0
	release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null)
	refused=$(cache_dir)/no-backports
	if [[ $release == bookworm ]] && have apt-get &&
		[[ -z $(find "$refused" -mmin -1440 2>/dev/null) ]]; then
		say "installing qemu-system-x86 from $release-backports ($why)"
		if qemu_from_backports "$release"; then
			return 0
		fi
		mkdir -p "$(cache_dir)"
		touch "$refused"
		say "$release-backports could not be used; falling back to $release's own QEMU"
	fi
	[[ -n $major ]] || apt_need "$why" qemu-system-x86
}

# unpack_need PACKAGE [PATTERN] : fetch a package and unpack it in the cache, for a package whose
# files are wanted but whose installation would change the machine; with a pattern, those files alone.
# Prints the directory.
unpack_need() {
	local package=$1 pattern=${2:-*} dir
	dir=$(cache_dir)/packages/$package
	if [[ ! -d $dir ]]; then
		have apt-get || die 125 "need the files of Debian's package $package"
		say "fetching $package for its files (it is unpacked in the cache, not installed)"
		mkdir -p "$dir.$$"
		(
			cd "$dir.$$"
			apt-get -qq -o APT::Sandbox::User=root download "$package" >&2 &&
				dpkg-deb --fsys-tarfile ./*.deb |
				tar -x --no-same-owner --wildcards "./$pattern" && rm ./*.deb
		) || {
			rm -rf "$dir.$$"
			die 125 "apt-get could not download $package, or it could not be unpacked"
		}
		# Another run may have been quicker; either result is the same.
		mv -T "$dir.$$" "$dir" 2>/dev/null || rm -rf "$dir.$$"
	fi
	printf '%s\n' "$dir"
}

# apt_knows PACKAGE : whether apt can fetch it, with fresh lists if the present ones do not say.
apt_knows() {
	have apt-cache || return 1
	apt-cache show "$1" >/dev/null 2>&1 && return 0
	say "refreshing the package lists to find $1"
	apt_get update || say "not every package list could be refreshed"
	apt-cache show "$1" >/dev/null 2>&1
}

# kernel_package NAME : the package of a kernel that Debian's package NAME stands for today.
kernel_package() {
	apt_knows "$1" || die 125 "need the kernel of Debian's package $1"
	apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | tail -n 1
}

# kernel_need : sets KERNEL (a bzImage), KERNEL_VERSION and KERNEL_MODULES. An installed cloud
# kernel is used where there is one; otherwise the package is only unpacked, because installing it
# would change what the machine boots next.
kernel_need() {
	local package dir
	if kernel_find /boot || kernel_find "$(cache_dir)/packages"; then
		return 0
	fi
	package=$(kernel_package linux-image-cloud-amd64)
	dir=$(unpack_need "$package")
	kernel_find "$dir" || die 125 "$package holds no kernel with KVM modules"
}

# kernel_find DIRECTORY : the newest cloud kernel under it that has its KVM modules beside it.
kernel_find() {
	local found
	while read -r found; do
		KERNEL=$found
		KERNEL_VERSION=${found##*/vmlinuz-}
		KERNEL_MODULES=${found%/boot/*}/lib/modules/$KERNEL_VERSION
		[[ ! -r $KERNEL || ! -d $KERNEL_MODULES/kernel/arch/x86/kvm ]] || return 0
	done < <(find "$1" -maxdepth 3 -name 'vmlinuz-*-cloud-amd64' 2>/dev/null | sort -rV)
	return 1
}

# generic_need : sets GENERIC, the bzImage of the kernel that Debian installs on any PC. Its image
# alone is kept: it is a guest here, and its modules take 400 MB.
generic_need() {
	local package
	if generic_find /boot || generic_find "$(cache_dir)/packages"; then
		return 0
	fi
	package=$(kernel_package linux-image-amd64)
	generic_find "$(unpack_need "$package" 'boot/vmlinuz-*')" || die 125 "$package holds no kernel"
}

# generic_find DIRECTORY : the newest generic kernel under it.
generic_find() {
	GENERIC=$(find "$1" -maxdepth 3 -name 'vmlinuz-*[0-9]-amd64' 2>/dev/null | sort -V | tail -n 1)
	[[ -r $GENERIC ]]
}

# busybox_need : sets BUSYBOX, a static one.
busybox_need() {
	BUSYBOX=/bin/busybox
	installed busybox-static && return 0
	apt_knows busybox-static || die 125 "need Debian's package busybox-static"
	BUSYBOX=$(unpack_need busybox-static)/bin/busybox
}
