# Debian, Ubuntu and their like.
apt_environment() {
	DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none APT_LISTBUGS_FRONTEND=none
	export DEBIAN_FRONTEND APT_LISTCHANGES_FRONTEND APT_LISTBUGS_FRONTEND
	if [ "$1" = replace ]; then
		UCF_FORCE_CONFFNEW=1
		export UCF_FORCE_CONFFNEW
	else
		UCF_FORCE_CONFFOLD=1
		export UCF_FORCE_CONFFOLD
	fi
}

# Nothing is removed from a guest. A node may need it: its programs say otherwise.
REMOVES=false

# `confdef` keeps what was changed by hand; with `confnew` alone the new file comes, and the old one is kept as .dpkg-old.
apt_get() {
	config=$1
	shift
	case $config in
	replace) set -- -o Dpkg::Options::=--force-confnew "$@" ;;
	*) set -- -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" ;;
	esac
	patiently apt-get -y -q -o DPkg::Lock::Timeout="$LOCK_SECONDS_MAX" \
		-o APT::Get::AutomaticRemove=false -o APT::Get::Remove="$REMOVES" "$@"
}

# only: assess

# Where one source is not reached, apt-get update still ends with 0, unless it is told that any error is one.
apt_refresh() {
	patiently apt-get -q -o APT::Update::Error-Mode=any update || return $?
	! said | grep -Eq '^(E:|Err:|W: Failed to fetch)' || return 100
}

apt_pending() {
	apt-get -s -q -o Debug::NoLocking=true dist-upgrade </dev/null 2>>"$job/log" >"$job/simulation" || return $?
	awk '/^Inst / {
		at = 3; from = "-"
		if ($3 ~ /^\[/) { from = substr($3, 2, length($3) - 2); at = 4 }
		to = substr($at, 2); sub(/\)$/, "", to)
		origin = $0; sub(/^[^(]*\(/, "", origin)
		print $2, from, to, (origin ~ /[Ss]ecurity/) ? "security" : "other"
	}' "$job/simulation"
}

# for all

apt_held() { apt-mark showhold </dev/null; }

apt_installed() {
	dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Architecture} ${Version}\n' </dev/null |
		awk -v native="$(dpkg --print-architecture </dev/null)" '$1 !~ /^.[nc]/ && NF == 4 {
			print ($3 == native || $3 == "all") ? $2 : $2 ":" $3, $4 }'
}

# only: assess

# Whether a killed dpkg left something unpacked and not configured, or packages without what they need.
apt_broken() {
	[ -z "$(dpkg --audit </dev/null 2>>"$job/log")" ] || return 0
	! apt-get check -q -o Debug::NoLocking=true </dev/null >/dev/null 2>>"$job/log"
}

# for all

# What was left half done is ended first, and what is needed for it is fetched.
apt_repair() {
	apt_environment keep
	patiently dpkg --force-confdef --force-confold --configure -a || return $?
	apt_get keep -f install
}

# only: patch

# All at once; those that are named otherwise there are asked for once more, each by itself.
apt_offered() {
	has apt-cache || return 1
	cut -d ' ' -f 1 "$job/wanted" | xargs apt-cache madison >"$job/available"
	[ -s "$job/available" ] || return 1
	awk -F '|' '$3 !~ /Sources *$/ { gsub(/ /, "", $1); gsub(/ /, "", $2); print $1, $2 }' "$job/available" >"$job/known"
	while read -r package version; do
		if ! grep -Fxq -e "$package $version" "$job/known"; then
			apt-cache madison "$package" </dev/null | awk -F '|' -v v="$version" \
				'$3 !~ /Sources *$/ { gsub(/ /, "", $2); if ($2 == v) found = 1 } END { exit !found }' || continue
		fi
		printf '%s %s\n' "$package" "$version"
	done <"$job/wanted"
}

apt_install() {
	apt_environment "$1"
	config=$1
	apt_held >"$job/held" 2>/dev/null
	set --
	while read -r package version; do
		if grep -Fxq -e "$package" "$job/held"; then
			say "$package is held: left as it is"
			continue
		fi
		is=$(awk -v name="$package" '$1 == name { print $2 }' "$job/before")
		# What is not there comes where a listed one needs it; what is as new already stays.
		[ -n "$is" ] || continue
		! dpkg --compare-versions "$is" ge "$version" </dev/null 2>/dev/null || continue
		can "$package" "$version" || continue
		set -- "$@" "$package=$version"
	done <"$job/wanted"
	if [ $# -eq 0 ]; then
		say 'nothing of the list is to be installed'
		return 0
	fi
	apt-mark showauto </dev/null 2>/dev/null | sort >"$job/auto"
	apt_get "$config" --only-upgrade install "$@"
	code=$?
	# What came because others needed it stays so marked.
	apt-mark showauto </dev/null 2>/dev/null | sort >"$job/auto.now"
	awk 'FILENAME == ARGV[1] { now[$1] = 1; next } FILENAME == ARGV[2] { here[$1] = 1; next } !($1 in now) && ($1 in here)' \
		"$job/auto.now" "$job/before" "$job/auto" >"$job/auto.lost"
	[ ! -s "$job/auto.now" ] || [ ! -s "$job/auto.lost" ] || xargs apt-mark auto <"$job/auto.lost" >>"$job/log" 2>&1
	return "$code"
}

# for all

# The changelog of the package down to the version that was there; nothing where that one is not in it. A rebuild (`+b1`) has no
# entry of its own.
apt_cves() {
	name_=${1%%:*}
	for log in "$ROOT/usr/share/doc/$name_/changelog.Debian.gz" "$ROOT/usr/share/doc/$name_/changelog.gz"; do
		[ -f "$log" ] || continue
		gzip -dc "$log" | head -n 3000 | awk -v from="(${2%+b[0-9]*})" '
			/^[a-z0-9]/ && $2 == from { printf "%s", text; exit }
			{ text = text $0 "\n" }'
		return 0
	done
}

apt_reboot() { newer_kernel; }
