# The work in a Linux guest, container or VM: what waits, installing exactly what was named, and whether the guest is well.
# Each package manager has functions of its name: refresh, pending, held, installed, repair, install, cves, reboot.
VERBS='assess patch health'
LOCKED='could not get lock|unable to (acquire|lock)|is locked by another process|lock(ed)? by pid|unable to lock database|another (app|process) is (currently )?holding|existing lock|waiting for (process|transaction)|system management is locked'

system() {
	os=$(. "$ROOT/etc/os-release" 2>/dev/null && printf '%s' "$ID")
	release=$(. "$ROOT/etc/os-release" 2>/dev/null && printf '%s' "${VERSION_ID:-${BUILD_ID:-$VERSION_CODENAME}}")
	manager=
	for tool in apt-get dnf5 dnf yum zypper apk pacman; do
		has "$tool" || continue
		case $tool in
		# Other systems may have apt-get too, but no packages of dpkg.
		apt-get)
			[ -s "$ROOT/var/lib/dpkg/status" ] || continue
			manager=apt
			;;
		dnf5 | dnf | yum) manager=dnf DNF=$tool ;;
		*) manager=$tool ;;
		esac
		break
	done
	fact "os=$os"
	fact "release=$release"
	[ -z "$manager" ] || fact "manager=$manager"
}

failed_units() {
	[ -d "$ROOT/run/systemd/system" ] || return 0
	systemctl --failed --no-legend --plain --no-pager list-units </dev/null 2>/dev/null | awk 'NF { print $1 }'
}

# Names and programs of processes that run from files which are no more there: what was replaced is still in use.
stale() {
	for maps in "$ROOT"/proc/${1:-[0-9]*}/maps; do
		grep -Eq ' [rw-]-xp .* /[^ ]*(\.so[^ /]*|bin/[^ /]*) \(deleted\)$' "$maps" 2>/dev/null || continue
		cat "${maps%/maps}/comm" 2>/dev/null
	done | sort -u | head -n 8 | tr '\n' ' ' | sed 's/ $//'
}

# Why a reboot is needed; nothing where it is not. In a container the kernel is the node's: only what runs in it counts.
reboot_needed() {
	if in_container; then
		who=$(stale)
		[ -z "$who" ] || printf 'replaced files are still in use by: %s\n' "$who"
		return 0
	fi
	if [ -e "$ROOT/run/reboot-required" ]; then
		what=$(sort -u "$ROOT/run/reboot-required.pkgs" 2>/dev/null | head -n 8 | tr '\n' ' ' | sed 's/ $//')
		printf '%s\n' "${what:-the system says so}"
		return 0
	fi
	why=$([ -z "$manager" ] || "${manager}_reboot")
	if [ -n "$why" ]; then
		printf '%s\n' "$why"
		return 0
	fi
	kernel=$(uname -r)
	if [ -d "$ROOT/lib/modules" ] && [ ! -d "$ROOT/lib/modules/$kernel" ] && [ -n "$(ls "$ROOT/lib/modules")" ]; then
		printf 'the running kernel %s is no more installed\n' "$kernel"
		return 0
	fi
	[ -z "$(stale 1)" ] || printf 'process 1 runs from files that were replaced\n'
}

# The newest kernel of the flavour that runs (`-amd64`, `-cloud-amd64`), where it is another one.
newer_kernel() {
	kernel=$(uname -r)
	flavour=$(printf '%s' "$kernel" | sed 's/^[0-9][0-9.+]*\(-[0-9][0-9.]*\)*//')
	newest=$(ls "$ROOT/boot" 2>/dev/null | sed -n 's/^vmlinuz-//p' | awk -v f="$flavour" \
		'substr($0, length($0) - length(f) + 1) == f && substr($0, 1, length($0) - length(f)) ~ /^[0-9.+-]+$/' |
		sort -V 2>/dev/null | tail -n 1)
	[ -z "$newest" ] || [ "$newest" = "$kernel" ] || printf 'kernel %s is installed, %s runs\n' "$newest" "$kernel"
}

# NAME FROM TO of what is another than it was.
differ() {
	awk 'FILENAME == ARGV[1] { was[$1] = $2; next }
		{ is[$1] = 1 }
		!($1 in was) { print $1, "-", $2; next }
		was[$1] != $2 { print $1, was[$1], $2 }
		END { for (name in was) if (!(name in is)) print name, was[name], "-" }' "$1" "$2" | sort
}

changes() {
	[ -s "$job/before" ] || return 0
	"${manager}_installed" 2>>"$job/log" | sort >"$job/after"
	[ -s "$job/after" ] || return 0
	differ "$job/before" "$job/after" >"$job/changed"
	head -n "$PENDING_MAX" "$job/changed" | sed 's/^/changed=/' | plain >>"$job/facts"
	while read -r package from to; do
		case $from$to in *-) continue ;; esac
		[ "$from" = - ] || "${manager}_cves" "$package" "$from" </dev/null 2>/dev/null
	done <"$job/changed" | grep -Eo 'CVE-[0-9]{4}-[0-9]{4,7}' | sort -u | head -n 200 | sed 's/^/cve=/' >>"$job/facts"
}

look_again() {
	"${manager}_held" 2>>"$job/log" | sort -u | head -n 200 | sed 's/^/held=/' | plain >>"$job/facts"
	why=$(reboot_needed | head -n 1)
	[ -z "$why" ] || fact "reboot=$why"
}

work_assess() {
	system
	failed_units | tee "$job/failed" | head -n 50 | sed 's/^/failed=/' | plain >>"$job/facts"
	if [ -z "$manager" ]; then
		say 'no package manager that we know is here'
		return 0
	fi
	if [ "$1" = 1 ]; then
		"${manager}_refresh" || return $?
	fi
	"${manager}_pending" >"$job/pending" 2>>"$job/log" || return $?
	touch "$dir/seen"
	awk -v now="$(now)" 'FILENAME == ARGV[1] { seen[$1 " " $2] = $3; next }
		NF == 4 { key = $1 " " $3; print $1, $2, $3, $4, (key in seen) ? seen[key] : now }' "$dir/seen" "$job/pending" |
		sort -u | head -n "$PENDING_MAX" | plain >"$job/waiting"
	awk '{ print $1, $3, $5 }' "$job/waiting" >"$dir/seen.$$" && mv -f "$dir/seen.$$" "$dir/seen"
	sed 's/^/pending=/' "$job/waiting" >>"$job/facts"
	look_again
}

# NAME VERSION of what shall be installed, from the list; a name is never an option.
wanted() {
	sed -n 's/^package //p' "$job/list" | grep -E '^[A-Za-z0-9][^ ]* [^ -][^ ]*$'
}

work_patch() {
	system
	if [ -z "$manager" ]; then
		say 'no package manager that we know is here'
		return 69
	fi
	"${manager}_installed" 2>>"$job/log" | sort >"$job/before"
	printf '%s\n' "$manager" >"$job/manager"
	wanted >"$job/wanted"
	"${manager}_repair"
	code=$?
	if [ "$code" -eq 0 ]; then
		"${manager}_install" "$1"
		code=$?
	fi
	outcome "$code"
}

# What stands in the state after an installation, however it ended.
outcome() {
	ended=$1
	changes
	look_again
	return "$ended"
}

# Of a job that died: what it got done.
remains() {
	[ -s "$job/before" ] || return 0
	manager=$(cat "$job/manager")
	[ "$manager" != apk ] || apk_unpin
	changes
	look_again
}

# Runs a command for so many seconds at most; its end is its own, or 124.
limited() {
	if timeout -k 5 5 true 2>/dev/null; then
		timeout -k 5 "$@" </dev/null >>"$job/log" 2>&1
		return $?
	fi
	seconds=$1
	shift
	"$@" </dev/null >>"$job/log" 2>&1 &
	child=$!
	while kill -0 "$child" 2>/dev/null; do
		if [ "$seconds" -le 0 ]; then
			kill -9 "$child" 2>/dev/null
			wait "$child" 2>/dev/null
			return 124
		fi
		sleep 1
		seconds=$((seconds - 1))
	done
	wait "$child"
}

listens() {
	cat "$ROOT/proc/net/tcp" "$ROOT/proc/net/tcp6" 2>/dev/null | awk -v port="$(printf '%04X' "$1")" \
		'$4 == "0A" { n = split($2, at, ":"); if (at[n] == port) found = 1 } END { exit !found }'
}

check() { printf 'check=%s\n' "$*" | plain >>"$job/checks"; }

more_checks() { :; }

checks() {
	well=0
	: >"$job/checks"
	for port in $(sed -n 's/^tcp //p' "$job/list"); do
		if listens "$port"; then
			check "tcp:$port" ok 'something listens'
		else
			check "tcp:$port" bad 'nobody listens'
			well=1
		fi
	done
	if [ "$units" = 1 ] && [ -d "$ROOT/run/systemd/system" ]; then
		new=$(failed_units | awk 'FILENAME == ARGV[1] { was[$1] = 1; next } !($1 in was)' "$baseline" - | head -n 8 | tr '\n' ' ')
		case $(systemctl is-system-running </dev/null 2>/dev/null) in
		starting | initializing) new="$new(the system still starts)" ;;
		esac
		if [ -z "$new" ]; then
			check units ok 'none failed that was well before'
		else
			check units bad "$new"
			well=1
		fi
	fi
	more_checks || well=1
	set --
	while IFS= read -r line; do
		case $line in "argument "*) set -- "$@" "${line#argument }" ;; esac
	done <"$job/list"
	if [ $# -gt 0 ]; then
		left=$((deadline - $(now)))
		[ "$left" -gt 0 ] || left=1
		say "+ $*"
		limited "$left" "$@"
		code=$?
		if [ "$code" -eq 0 ]; then
			check command ok 'exit status 0'
		else
			check command bad "exit status $code: $(tail -n 1 "$job/log" | cut -c 1-200)"
			well=1
		fi
	fi
	return "$well"
}

# With what the failed units are compared: the first assessment of the same slot. Where there is none, each of them counts.
baseline() {
	for baseline in "$dir/${name%%-*}-assess/failed" "$dir/${name%%-*}-assess"[0-9]/failed /dev/null; do
		[ ! -e "$baseline" ] || return 0
	done
}

work_health() {
	baseline
	deadline=$(($(now) + $1))
	units=$2
	while ! checks; do
		if [ "$(now)" -ge "$deadline" ]; then
			cat "$job/checks" >>"$job/facts"
			return 1
		fi
		sleep 2
	done
	cat "$job/checks" >>"$job/facts"
}
