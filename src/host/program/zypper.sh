# SUSE.

# only: assess

zypper_refresh() { patiently zypper --non-interactive refresh; }

# for all

zypper_installed() { DNF=zypper dnf_installed; }

# only: assess

# NAME OLD NEW of the packages in a list in XML, wherever a line ends.
zypper_xml() {
	tr '\n<' ' \n' | grep -E "^(update|solvable) " | awk '
		function value(key,   at, rest) {
			at = index($0, " " key "=\"")
			if (!at) return ""
			rest = substr($0, at + length(key) + 3)
			return substr(rest, 1, index(rest, "\"") - 1)
		}
		{ kind = value("kind"); if (kind == "") kind = value("type") }
		kind == "package" || kind == "" {
			name = value("name"); to = value("edition"); from = value("edition-old")
			if (name != "" && to != "") print name, (from == "") ? "-" : from, to
		}'
}

zypper_pending() {
	zypper --non-interactive --quiet --xmlout list-updates </dev/null >"$job/updates" 2>>"$job/log" || return $?
	zypper --non-interactive --quiet --xmlout patch --dry-run --category security </dev/null >"$job/patches" 2>/dev/null
	zypper_xml <"$job/patches" >"$job/advised"
	zypper_installed >"$job/installed"
	zypper_xml <"$job/updates" | awk 'FILENAME == ARGV[1] { advised[$1] = 1; next } FILENAME == ARGV[2] { is[$1] = $2; next }
		{ print $1, ($1 in is) ? is[$1] : $2, $3, ($1 in advised) ? "security" : "other" }' "$job/advised" "$job/installed" -
}

zypper_broken() { return 1; }

# for all

zypper_held() {
	zypper --non-interactive --quiet locks </dev/null | awk -F '|' 'NF > 2 && $1 ~ /[0-9]/ { gsub(/ /, "", $2); print $2 }'
}

zypper_repair() { :; }

# only: patch

# What is installed and in no repository any more stands among the system's packages.
zypper_offered() {
	zypper --non-interactive --quiet search --details --type package </dev/null >"$job/available" || return 1
	awk -F '|' 'FILENAME == ARGV[1] {
			if ($6 !~ /System Packages/) { gsub(/ /, "", $2); gsub(/ /, "", $4); can[$2 " " $4] = 1 }
			next
		}
		$0 in can' "$job/available" "$job/wanted"
}

# 102: done, a reboot is needed; 103: the package manager itself was updated, run it again; 106: done, a repository was left out.
zypper_install() {
	[ "$1" = keep ] || say 'rpm packages decide by themselves which configuration files they replace'
	set --
	while read -r package version; do
		is=$(awk -v name="$package" '$1 == name { print $2 }' "$job/before")
		[ -n "$is" ] && [ "$is" != "$version" ] || continue
		can "$package" "$version" || continue
		set -- "$@" "$package=$version"
	done <"$job/wanted"
	if [ $# -eq 0 ]; then
		say 'nothing of the list is to be installed'
		return 0
	fi
	for round in 1 2 3; do
		patiently zypper --non-interactive install --auto-agree-with-licenses --no-confirm \
			--no-recommends --no-force-resolution "$@"
		code=$?
		case $code in
		0 | 102 | 106) return 0 ;;
		103) ;;
		*) return "$code" ;;
		esac
	done
	return "$code"
}

# for all

zypper_cves() { dnf_cves "$@"; }

zypper_reboot() {
	zypper needs-rebooting </dev/null >/dev/null 2>&1
	[ $? -ne 102 ] || printf 'zypper says so\n'
}
