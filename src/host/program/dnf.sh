# Fedora, RHEL and their like: dnf of either age, or yum.

# only: assess

dnf_refresh() { patiently "$DNF" -y makecache; }

# for all

# Version without the epoch 0, as the tools print it; of what may be there many times, the one that came last.
dnf_installed() {
	rpm -qa --qf '%{INSTALLTIME} %{NAME} %{ARCH} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n' </dev/null | grep -v ' gpg-pubkey ' |
		sort -n | awk -v native="$(uname -m)" '{
			sub(/^0:/, "", $4)
			name = ($3 == native || $3 == "noarch") ? $2 : $2 "." $3
			is[name] = $4
		} END { for (name in is) print name, is[name] }'
}

# only: assess

# 100: updates wait, 0: none, anything else: an error.
dnf_pending() {
	"$DNF" -q check-update </dev/null >"$job/updates" 2>>"$job/log"
	code=$?
	case $code in 0) return 0 ;; 100) ;; *) return "$code" ;; esac
	"$DNF" -q updateinfo list --security </dev/null >"$job/advisories" 2>/dev/null ||
		"$DNF" -q updateinfo list security </dev/null >"$job/advisories" 2>/dev/null
	dnf_installed >"$job/installed"
	awk -v native="$(uname -m)" 'FILENAME == ARGV[1] { for (i = 1; i <= NF; i++) advised[$i] = 1; next }
		FILENAME == ARGV[2] { is[$1] = $2; next }
		/^Obsoleting/ { exit }
		NF == 3 && $1 ~ /\.[a-z0-9_]+$/ {
			full = $1; arch = full; sub(/.*\./, "", arch)
			name = substr(full, 1, length(full) - length(arch) - 1)
			version = $2; bare = version; sub(/^[0-9]+:/, "", bare)
			key = (arch == native || arch == "noarch") ? name : full
			security = ((name "-" bare "." arch) in advised) || ((name "-" version "." arch) in advised)
			print key, (key in is) ? is[key] : "-", version, security ? "security" : "other"
		}' "$job/advisories" "$job/installed" "$job/updates"
}

dnf_broken() { return 1; }

# for all

dnf_held() {
	"$DNF" -q versionlock list </dev/null 2>/dev/null | awk 'NF == 1 && !/^#/ { print $1 } /^Package name:/ { print $3 }'
}

# rpm needs nothing that was left half done to be ended.
dnf_repair() { :; }

# only: patch

# Without the plugin (yum) it cannot be told.
dnf_offered() {
	native=$(uname -m)
	sed 's/ .*//;s/\.i[3-6]86$//;s/\.'"$native"'$//' "$job/wanted" |
		xargs "$DNF" -q repoquery --available </dev/null >"$job/available" || return 1
	awk -v native="$native" 'FILENAME == ARGV[1] { can[$1] = 1; next }
		{
			name = $1; arch = native; version = $2
			if (name ~ /\.i[3-6]86$/) { arch = substr(name, length(name) - 3); name = substr(name, 1, length(name) - 5) }
			if (version !~ /:/) version = "0:" version
			if (((name "-" version "." arch) in can) || ((name "-" version ".noarch") in can)) print $1, $2
		}' "$job/available" "$job/wanted"
}

dnf_install() {
	[ "$1" = keep ] || say 'rpm packages decide by themselves which configuration files they replace'
	set --
	while read -r package version; do
		is=$(awk -v name="$package" '$1 == name { print $2 }' "$job/before")
		[ -n "$is" ] && [ "$is" != "$version" ] || continue
		can "$package" "$version" || continue
		arch= native=$(uname -m)
		case $package in *.i[3-6]86 | *."$native") arch=.${package##*.} package=${package%.*} ;; esac
		set -- "$@" "$package-$version$arch"
	done <"$job/wanted"
	if [ $# -eq 0 ]; then
		say 'nothing of the list is to be installed'
		return 0
	fi
	patiently "$DNF" -y --setopt=clean_requirements_on_remove=False upgrade "$@"
}

# for all

# The newest entries down to the version that was there; nothing where that one is not among them.
dnf_cves() {
	bare=${2#*:}
	rpm -q --changelog "$1" </dev/null | head -n 1000 | awk -v from="$bare" -v short="${bare%.*}" '
		/^\* / && (index($0, from) || index($0, short)) { printf "%s", text; exit }
		{ text = text $0 "\n" }'
}

# 1 is yes; an error is 1 too, so that its words decide.
dnf_reboot() {
	if has needs-restarting; then
		said=$(needs-restarting -r </dev/null 2>/dev/null)
	else
		said=$("$DNF" -q needs-restarting -r </dev/null 2>/dev/null)
	fi
	case $? in 1) ;; *) return 0 ;; esac
	case $said in *[Rr]eboot*required* | *"should be rebooted"*) ;; *) return 0 ;; esac
	what=$(printf '%s\n' "$said" | sed -n 's/^  *\* *//p' | head -n 8 | tr '\n' ' ' | sed 's/ $//')
	printf '%s\n' "${what:-needs-restarting says so}"
}
