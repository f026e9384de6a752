# What the programs of guests and of nodes share: the folder of a job, its state, and how it is begun, found again and ended.
# POSIX sh: dash, the ash of busybox, bash.
ROOT=''
BEAT=10
LOG_BYTES_MAX=4194304
LOCK_SECONDS_MAX=600
PENDING_MAX=2000
OLD_JOBS_MAX=8
LC_ALL=C
HOME=${HOME:-/root}
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL HOME PATH
unset LANGUAGE IFS

has() { command -v "$1" >/dev/null 2>&1; }
now() { date +%s; }
say() { printf '%s\n' "$*" >>"$job/log"; }

# The start of a process by the clock of the kernel: with its id it is that process and no later one. A zombie is none: where
# process 1 is no init, nobody takes it away.
born() {
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	set -- ${stat##*) }
	[ "$1" != Z ] || return 1
	printf '%s' "${20}"
}

in_container() {
	cat "$ROOT/proc/1/environ" 2>/dev/null | tr '\0' '\n' | grep -q '^container=' || [ -s "$ROOT/run/systemd/container" ]
}

# A container has the kernel of its node, so that its boots differ in the start of process 1.
boot() {
	id=$(cat "$ROOT/proc/sys/kernel/random/boot_id" 2>/dev/null)
	if in_container; then
		printf '%.8s.%s' "$id" "$(born 1)"
	else
		printf '%s' "$id"
	fi
}

# Lines of plain characters, not too long.
plain() { tr -d '\000-\010\013-\037\177' | tr '\200-\377' '?' | cut -c 1-300; }

# The section of a job: state, times, facts, the last lines of its log. The worker and its heart both write it, never at once.
section() {
	{
		printf '[%s]\nstate=%s\n' "$name" "$1"
		[ -z "$2" ] || printf 'exit=%s\n' "$2"
		printf 'started=%s\n' "$(cat "$job/started")"
		[ -z "$3" ] || printf 'ended=%s\n' "$3"
		printf 'beat=%s\nboot=%s\n' "$(now)" "$(cat "$job/boot")"
		cat "$job/facts" 2>/dev/null
		if [ -s "$job/log" ]; then
			tail -c 16384 "$job/log" | tr '\r' '\n' | plain | grep -v '^ *$' | tail -n 40 | sed 's/^/log=/'
		fi
	} >"$job/section.$4" && mv -f "$job/section.$4" "$job/section" && publish "$4"
}

gather() {
	for one in "$dir"/*/section; do
		[ -f "$one" ] || continue
		printf '%s %s\n' "$(sed -n '/^started=/{s///p;q;}' "$one")" "$one"
	done | sort -n | while read -r _ one; do cat "$one"; done
}

# The window's file is made anew until it says what the sections say: two jobs may write it at once.
publish() {
	tries=0
	while [ "$tries" -lt 5 ]; do
		gather >"$dir/state.$1.$$" && mv -f "$dir/state.$1.$$" "$dir/state"
		[ "$(gather)" = "$(cat "$dir/state")" ] && return 0
		tries=$((tries + 1))
	done
}

fact() { printf '%s\n' "$*" | plain >>"$job/facts"; }

alive() {
	set -- $(cat "$job/pid" 2>/dev/null)
	[ $# -eq 2 ] && [ "$(born "$1")" = "$2" ]
}

running() { grep -q '^state=running$' "$job/section" 2>/dev/null; }

# Signs of life, and a log that stays small. It ends with the worker.
heart() {
	passed=0
	while alive; do
		sleep 1
		passed=$((passed + 1))
		if [ "$(wc -c <"$job/log")" -gt "$LOG_BYTES_MAX" ]; then
			tail -c 65536 "$job/log" >"$job/log.tail"
			cat "$job/log" 2>/dev/null | head -c 65536 >"$job/log.head"
			: >"$job/log"
			cat "$job/log.head" "$job/log.tail" >>"$job/log"
			rm -f "$job/log.head" "$job/log.tail"
		fi
		[ "$passed" -lt "$BEAT" ] || { passed=0; section running '' '' heart; }
	done
}

# Runs a tool of the system: its output goes to the log, nothing comes in.
run() {
	say "+ $*"
	"$@" </dev/null >>"$job/log" 2>&1
}

# What the last try said.
said() { tail -c +"$((byte + 1))" "$job/log"; }

# The same, again while another one holds the lock of the package manager.
patiently() {
	until_=$(($(now) + LOCK_SECONDS_MAX))
	while :; do
		byte=$(wc -c <"$job/log")
		run "$@"
		code=$?
		[ "$code" -ne 0 ] || return 0
		[ "$(now)" -lt "$until_" ] || return "$code"
		said | grep -Eqi "$LOCKED" || return "$code"
		sleep 5
	done
}

# Old jobs go; those of this time the window opened stay all.
tidy() {
	slot=${name%%-*}
	for one in "$dir"/*/started; do
		[ -f "$one" ] || continue
		case ${one%/started} in "$dir/$slot-"*) continue ;; esac
		printf '%s %s\n' "$(cat "$one")" "${one%/started}"
	done | sort -rn | tail -n +$((OLD_JOBS_MAX + 1)) | while read -r _ one; do rm -rf "$one"; done
}

# What was written at the beginning: a job that is in its folder is never begun again.
begin() {
	mkdir -p "$dir" || exit 73
	if ! mkdir "$job" 2>/dev/null; then
		[ -d "$job" ] || exit 73
		if [ ! -f "$job/section" ]; then
			now >"$job/started"
			boot >"$job/boot"
			section died '' "$(now)" "$$"
		fi
		echo 'there already'
		exit 0
	fi
	now >"$job/started"
	boot >"$job/boot"
	printf '%s\n' "$list" >"$job/list"
	printf '%s\n' "$program" >"$job/worker"
	: >"$job/log"
	: >"$job/facts"
	section running '' '' "$$" || exit 73
	tidy
}

# Starts the worker so that it outlives whoever started it.
detach() {
	unit=pvectl-$(printf '%s-%s' "$window" "$name" | tr -c 'A-Za-z0-9-' '-')
	if [ -d "$ROOT/run/systemd/system" ] && has systemd-run &&
		systemd-run --quiet --collect --unit="$unit" /bin/sh "$job/worker" work "$@" >>"$job/log" 2>&1; then
		echo begun
		return 0
	fi
	unset program list
	if has setsid; then
		setsid /bin/sh "$job/worker" work "$@" </dev/null >>"$job/log" 2>&1 &
	else
		nohup /bin/sh "$job/worker" work "$@" </dev/null >>"$job/log" 2>&1 &
	fi
	echo begun
}

# The worker: the first one works, a second one has nothing to do.
work() {
	mkdir "$job/began" 2>/dev/null || exit 0
	printf '%s %s\n' "$$" "$(born $$)" >"$job/pid"
	heart &
	heart=$!
	"$@"
	code=$?
	kill "$heart" 2>/dev/null
	wait "$heart" 2>/dev/null
	section "done" "$code" "$(now)" worker
	rm -f "$job/pid" "$job/worker"
}

# `note KEY VALUE` a line. A key that is there keeps its value.
note() {
	mkdir -p "$job" || exit 73
	[ -f "$job/started" ] || now >"$job/started"
	[ -f "$job/boot" ] || boot >"$job/boot"
	{
		cat "$job/facts" 2>/dev/null
		printf '%s\n' "$list" | sed -n 's/^note /note=/p'
	} | awk '{ split($0, w, " "); if (!(w[1] in seen)) { seen[w[1]] = 1; print } }' >"$job/facts.$$" &&
		mv -f "$job/facts.$$" "$job/facts" || exit 73
	section "done" 0 "$(now)" "$$"
}

# A job that says it runs and does not is dead. One that was begun just now gets time to start.
revive() {
	[ -d "$job" ] || exit 0
	if [ ! -f "$job/section" ]; then
		now >"$job/started"
		boot >"$job/boot"
	elif ! running || alive; then
		exit 0
	elif [ ! -f "$job/pid" ] && [ "$(cat "$job/boot")" = "$(boot)" ] &&
		[ $(($(now) - $(cat "$job/started"))) -lt 30 ]; then
		exit 0
	fi
	mkdir "$job/began" 2>/dev/null
	remains
	section died '' "$(now)" "$$"
}

main() {
	verb=$1 window=$2 name=$3
	[ "$verb" = work ] && shift && verb=work window=$2 name=$3
	for word in "$window" "${name:-x}"; do
		case $word in '' | .* | */* | -*) echo "not a name: $word" >&2; exit 64 ;; esac
	done
	dir=$ROOT/var/lib/pvectl/patch/$window
	job=$dir/$name
	case $verb in
	read)
		printf 'boot=%s\n' "$(boot)"
		gather
		;;
	note) note ;;
	revive) revive ;;
	work)
		verb=$1
		shift 3
		work "work_$verb" "$@"
		;;
	*)
		case " $VERBS " in *" $verb "*) ;; *) echo "no such work: $verb" >&2; exit 64 ;; esac
		begin
		detach "$@"
		;;
	esac
}
