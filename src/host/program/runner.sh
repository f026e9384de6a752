# Begins a GitHub runner in a Linux guest, once. The secret comes by standard input and goes on to the worker through a named pipe,
# so that it is in no argument and no file. POSIX sh: dash, the ash of busybox, bash.
umask 077
program=$(cat <<'PVECTL_PROGRAM'
ROOT=''
HOOK_SECONDS_MAX=900
TOOL_SECONDS_MAX=120
PIPE_SECONDS_MAX=60
# GitHub ends a job after five days.
RUN_SECONDS_MAX=518400
export PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
unset IFS

dir=$ROOT/var/lib/pvectl/runner
started='' ended='' code='' why='' found=''
name=$1 directory=$2 user=$3 host=$4 version=$5 before=$6 after=$7 way=$8
shift 8
url=$1 labels=$2 group=$3 folder=$4 program=$5

has() { command -v "$1" >/dev/null 2>&1; }
now() { date +%s; }
plain() { tr '\n' ' ' | tr -d '\000-\037\177' | tr '\200-\377' '?' | cut -c 1-300; }
say() { printf '%s\n' "pvectl: $*" >>"$dir/log"; }

put() {
	{
		printf 'phase=%s\nname=%s\n' "$1" "$name"
		[ -z "$started" ] || printf 'started=%s\n' "$started"
		[ -z "$found" ] || printf 'version=%s\n' "$found"
		[ -z "$why" ] || printf 'why=%s\n' "$why"
		[ -z "$code" ] || printf 'exit=%s\n' "$code"
		[ -z "$ended" ] || printf 'ended=%s\n' "$ended"
	} >"$dir/state.$$" && mv -f "$dir/state.$$" "$dir/state"
}

# It failed before the runner began.
fail() {
	why=$(printf '%s' "$1" | plain)
	code=${2:-1}
	ended=$(now)
	say "$why"
	put ended
	exit 0
}

# SECONDS COMMAND…: its output goes to the log, nothing comes in.
bounded() {
	seconds=$1
	shift
	if has timeout; then
		timeout "$seconds" "$@" </dev/null >>"$dir/log" 2>&1
		return
	fi
	"$@" </dev/null >>"$dir/log" 2>&1 &
	child=$!
	{ sleep "$seconds" && kill "$child"; } </dev/null >/dev/null 2>&1 &
	dog=$!
	wait "$child" 2>/dev/null
	set -- $?
	kill "$dog" 2>/dev/null
	return "$1"
}

# SECONDS COMMAND…: as the runner's user. The environment goes along; no word of it is on a command line.
as_user() {
	limit=$1
	shift
	if [ "$user" = "$(id -un)" ]; then
		bounded "$limit" "$@"
	elif has runuser; then
		bounded "$limit" runuser -u "$user" -- "$@"
	elif has setpriv; then
		bounded "$limit" setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups "$@"
	else
		bounded "$limit" su -s /bin/sh -c 'exec "$0" "$@"' -- "$user" "$@"
	fi
}

find_user() {
	if [ -z "$user" ]; then
		set -- $(ls -ld "$directory")
		user=$3
	fi
	id "$user" >/dev/null 2>&1 || fail "there is no user $user in the guest, who should run $directory"
	if [ "$(id -u)" -ne 0 ] && [ "$user" != "$(id -un)" ]; then
		fail "only root can run it as $user, and this is $(id -un)"
	fi
	# It refuses to run as root unless it is told that this is meant.
	[ "$(id -u "$user")" -ne 0 ] || export RUNNER_ALLOW_RUNASROOT=1
	home=$(awk -F: -v user="$user" '$1 == user { print $6 }' /etc/passwd)
	[ -n "$home" ] || ! has getent || home=$(getent passwd "$user" | cut -d: -f6)
	export HOME="${home:-/}" USER="$user" LOGNAME="$user"
}

look_version() {
	[ -f "$directory/run.sh" ] || fail "there is no runner in $directory: no run.sh"
	if [ -x "$directory/bin/Runner.Listener" ]; then
		# As its user: it writes to its folder even then.
		lines=$(wc -l <"$dir/log")
		as_user "$TOOL_SECONDS_MAX" "$directory/bin/Runner.Listener" --version
		found=$(tail -n +$((lines + 1)) "$dir/log" | tr -d '\r' | grep -E '^[0-9]+(\.[0-9]+)+$' | tail -n 1)
	fi
	[ -z "$version" ] || [ "$version" = "$found" ] ||
		fail "the runner in $directory is of version ${found:-unknown}, and $version is asked for"
}

name_host() {
	[ "$(uname -n)" != "$name" ] || return 0
	bounded 30 hostnamectl set-hostname "$name" || {
		printf '%s\n' "$name" >"$ROOT/etc/hostname" && bounded 30 hostname "$name"
	} || fail "the host name could not be set to $name"
	grep -qs "[[:space:]]$name\$" "$ROOT/etc/hosts" || printf '127.0.1.1 %s\n' "$name" >>"$ROOT/etc/hosts"
}

configure() {
	set -- --unattended --ephemeral --url "$url" --name "$name" --labels "$labels" --work "$folder"
	[ -z "$group" ] || set -- "$@" --runnergroup "$group"
	(
		export ACTIONS_RUNNER_INPUT_TOKEN="$secret"
		as_user "$TOOL_SECONDS_MAX" ./config.sh "$@"
	)
	failed=$?
	[ "$failed" -eq 0 ] || fail "config.sh ended with $failed: its last lines are in the log" "$failed"
}

# A line of the manifest's, as root. It is told the runner's name and its folder.
hook() {
	(
		export HOME=/root USER=root LOGNAME=root RUNNER_NAME="$name" RUNNER_DIRECTORY="$directory" RUNNER_EXIT="$code"
		unset secret
		bounded "$HOOK_SECONDS_MAX" /bin/sh -c "$1"
	)
}

# What it registered with is of no use any more, and stays on no disk that is kept for a look.
forget() { rm -f "$directory/.credentials" "$directory/.credentials_rsaparams"; }

run() {
	(
		[ "$way" = token ] || export ACTIONS_RUNNER_INPUT_JITCONFIG="$secret"
		unset secret
		# Otherwise the end of one that is too old looks like any other.
		export ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1
		as_user "$RUN_SECONDS_MAX" ./run.sh
	)
	code=$?
	unset secret
}

off() {
	has systemctl && systemctl poweroff --no-block && return
	poweroff || shutdown -h now || halt -p
}

work() {
	umask 022
	exec </dev/null >>"$dir/log" 2>&1
	mkdir "$dir/began" 2>/dev/null || exit 0
	started=$(sed -n 's/^started=//p' "$dir/state")
	# Whoever should write to the pipe may be gone: an empty line ends the wait then.
	{ sleep "$PIPE_SECONDS_MAX" && echo >"$dir/secret"; } >/dev/null 2>&1 &
	dog=$!
	IFS= read -r secret <"$dir/secret"
	kill "$dog" 2>/dev/null
	rm -f "$dir/secret" "$dir/worker"
	[ -n "$secret" ] || fail 'the secret did not come to the one who starts the runner'
	cd "$directory" || fail "there is no folder $directory in the guest"
	find_user
	look_version
	[ "$host" = 0 ] || name_host
	if [ -n "$before" ]; then
		hook "$before"
		failed=$?
		[ "$failed" -eq 0 ] || fail "the hook before the runner ended with $failed" "$failed"
	fi
	[ "$way" = jit ] || configure
	put running
	run
	forget
	if [ -n "$after" ]; then
		hook "$after" || say "the hook after the runner ended with $?"
	fi
	ended=$(now)
	put ended
	[ "$code" -ne 0 ] || off
}

# So that it outlives whoever starts it: the guest agent, a session.
detach() {
	if [ -d "$ROOT/run/systemd/system" ] && has systemd-run; then
		for more in '--property=TasksMax=infinity --property=OOMPolicy=continue' ''; do
			systemd-run --quiet --collect --unit=pvectl-runner $more /bin/sh "$dir/worker" </dev/null >>"$dir/log" 2>&1 &&
				return 0
		done
	fi
	if has setsid; then
		setsid /bin/sh "$dir/worker" </dev/null >>"$dir/log" 2>&1 &
	else
		nohup /bin/sh "$dir/worker" </dev/null >>"$dir/log" 2>&1 &
	fi
}

quoted() { printf " '%s'" "$(printf '%s\n' "$1" | sed "s/'/'\\\\''/g")"; }

begin() {
	mkdir -p "$ROOT/var/lib/pvectl" || exit 73
	if ! mkdir "$dir" 2>/dev/null; then
		[ -d "$dir" ] || exit 73
		echo 'there already'
		exit 0
	fi
	: >"$dir/log"
	started=$(now)
	put preparing || exit 73
	mkfifo "$dir/secret" || fail 'no named pipe can be made in the guest'
	{
		printf 'set --'
		for word in "$name" "$directory" "$user" "$host" "$version" "$before" "$after" "$way" "$url" "$labels" "$group" \
			"$folder" ''; do quoted "$word"; done
		printf '\n%s\n' "$program"
	} >"$dir/worker" || fail 'the worker could not be written'
	detach
	{ printf '%s\n' "$secret" >"$dir/secret"; } </dev/null >/dev/null 2>&1 &
	writer=$!
	unset secret
	{ sleep "$PIPE_SECONDS_MAX" && kill "$writer"; } </dev/null >/dev/null 2>&1 &
	dog=$!
	if wait "$writer" 2>/dev/null; then
		kill "$dog" 2>/dev/null
		echo begun
	else
		mkdir "$dir/began" 2>/dev/null && fail 'the worker did not start'
	fi
}

if [ -n "$program" ]; then begin; else work; fi
PVECTL_PROGRAM
)
take() {
	@SECRET@
	[ -n "$secret" ] || { echo 'no secret came by standard input: nothing is begun' >&2; exit 64; }
	set -- "$@" "$program"
	eval "$program"
}
take "$@"
