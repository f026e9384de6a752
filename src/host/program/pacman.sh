# Arch. What waits is asked of a copy of the repositories' lists, so that the system's own are never newer than what is installed.
# pacman fetches as a user of its own (DownloadUser), who must get there: the jobs' folders are shut to it.
pacman_lists() { lists=$ROOT/var/cache/pvectl/$window; }

pacman_refresh() {
	pacman_lists
	(umask 022 && mkdir -p "$lists/sync") || return 73
	ln -sfn "$ROOT/var/lib/pacman/local" "$lists/local"
	rm -f "$lists/db.lck"
	patiently pacman -Sy --noconfirm --dbpath "$lists" --logfile /dev/null
}

pacman_installed() { pacman -Q </dev/null; }

pacman_waiting() {
	pacman_lists
	[ -d "$lists/sync" ] || pacman_refresh || return $?
	pacman -Qu --dbpath "$lists" </dev/null 2>>"$job/log" | awk '$3 == "->"'
}

# only: assess

pacman_pending() { pacman_waiting | awk '!/\[ignored\]/ { print $1, $2, $4, "other" }'; }

# for all

pacman_held() { pacman_waiting | awk '/\[ignored\]/ { print $1 }'; }

# A lock that a killed pacman left is in the way of every later one.
pacman_broken() {
	lock=$ROOT/var/lib/pacman/db.lck
	[ -e "$lock" ] || return 1
	for comm in "$ROOT"/proc/[0-9]*/comm; do
		[ "$(cat "$comm" 2>/dev/null)" != pacman ] || return 1
	done
}

pacman_repair() {
	pacman_broken || return 0
	say 'removing the lock that a killed pacman left'
	rm -f "$lock"
}

# only: patch

# It looks for itself.
pacman_offered() { return 1; }

# pacman installs what the repositories have, no other version: where that is not what was listed, nothing is done. What waits and
# is not listed is left out.
pacman_install() {
	[ "$1" = keep ] || say 'pacman never replaces a changed configuration file: the new one is beside it as .pacnew'
	pacman_waiting >"$job/updates"
	bad=$(awk 'FILENAME == ARGV[1] { is[$1] = $2; next } FILENAME == ARGV[2] { to[$1] = $4; next }
		($1 in is) && is[$1] != $2 && to[$1] != $2 { print $1 " is listed as " $2 ", the repositories have " ($1 in to ? to[$1] : is[$1]) }' \
		"$job/before" "$job/updates" "$job/wanted" | head -n 20)
	if [ -n "$bad" ]; then
		say "$bad"
		say 'pacman cannot install other versions than those of the repositories: nothing was done'
		return 75
	fi
	some=$(awk 'FILENAME == ARGV[1] { to[$1] = $4; next } to[$1] == $2' "$job/updates" "$job/wanted" | head -n 1)
	if [ -z "$some" ]; then
		say 'nothing of the list is to be installed'
		return 0
	fi
	others=$(awk 'FILENAME == ARGV[1] { listed[$1] = 1; next } !/\[ignored\]/ && !($1 in listed) { print $1 }' \
		"$job/wanted" "$job/updates" | tr '\n' ',' | sed 's/,$//')
	mkdir -p "$ROOT/var/lib/pacman/sync" && cp -p "$lists/sync/"*.db "$ROOT/var/lib/pacman/sync/" || return 73
	set -- -Su --noconfirm
	[ -z "$others" ] || set -- "$@" --ignore "$others"
	patiently pacman "$@"
}

# for all

pacman_cves() { :; }
pacman_reboot() { :; }
