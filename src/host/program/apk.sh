# Alpine.

# only: assess

apk_refresh() {
	patiently apk update || return $?
	! said | grep -Eq '^(ERROR|WARNING: (updating|opening|fetching))' || return 1
}

# for all

apk_installed() {
	apk info -v </dev/null 2>/dev/null | awk '{
		version = $1; name = $1
		if (match(name, /-[0-9][^-]*-r[0-9]+$/)) { version = substr($1, RSTART + 1); name = substr($1, 1, RSTART - 1) }
		print name, version
	}'
}

# only: assess

# Alpine does not say which updates are for security.
apk_pending() {
	apk version -l '<' </dev/null >"$job/updates" 2>>"$job/log" || return $?
	awk '$2 == "<" && match($1, /-[0-9][^-]*-r[0-9]+$/) {
		print substr($1, 1, RSTART - 1), substr($1, RSTART + 1), $3, "other" }' "$job/updates"
}

# for all

# What the administrator pinned in the list of wished packages.
apk_held() { awk '{ n = split($0, part, "="); if (n == 2 && part[1] !~ /[<>~]$/) print part[1] }' "$ROOT/etc/apk/world" 2>/dev/null; }

# Pins that we made go, and what stood there before comes back; what somebody else wrote since stays.
apk_unpin() {
	[ -f "$dir/world.before" ] || return 0
	world=$ROOT/etc/apk/world
	awk 'FILENAME == ARGV[1] { pin[$1] = 1; next }
		FILENAME == ARGV[2] { name = $1; sub(/[=<>~@].*/, "", name); was[name] = $0; next }
		($1 in pin) { name = $1; sub(/=.*/, "", name); if (name in was) print was[name]; next }
		{ print }' "$dir/world.pins" "$dir/world.before" "$world" >"$world.pvectl" || return 1
	chmod 644 "$world.pvectl" && mv -f "$world.pvectl" "$world" && rm -f "$dir/world.before" "$dir/world.pins"
}

# only: assess

apk_broken() { [ -f "$dir/world.before" ]; }

# for all

apk_repair() {
	apk_unpin || return $?
	patiently apk fix
}

# only: patch

apk_offered() {
	cut -d ' ' -f 1 "$job/wanted" | xargs apk policy >"$job/available"
	awk '/^[^ ].* policy:$/ { name = $1 } /^  [^ ].*:$/ { sub(/:$/, "", $1); version = $1 }
		/^    / && $0 !~ /lib\/apk\/db\/installed/ { print name, version }' "$job/available"
}

# A changed configuration file stays, the new one comes beside it as .apk-new.
apk_install() {
	[ "$1" = keep ] || say 'apk never replaces a changed configuration file: the new one is beside it as .apk-new'
	apk_held >"$job/held"
	set --
	: >"$dir/world.pins.new"
	while read -r package version; do
		if grep -Fxq -e "$package" "$job/held"; then
			say "$package is pinned: left as it is"
			continue
		fi
		is=$(awk -v name="$package" '$1 == name { print $2 }' "$job/before")
		[ -n "$is" ] && [ "$is" != "$version" ] || continue
		[ "$(apk version -t "$is" "$version" </dev/null 2>/dev/null)" != '>' ] || continue
		can "$package" "$version" || continue
		set -- "$@" "$package=$version"
		printf '%s\n' "$package=$version" >>"$dir/world.pins.new"
	done <"$job/wanted"
	if [ $# -eq 0 ]; then
		say 'nothing of the list is to be installed'
		return 0
	fi
	mv -f "$dir/world.pins.new" "$dir/world.pins"
	cp "$ROOT/etc/apk/world" "$dir/world.before.new" && mv -f "$dir/world.before.new" "$dir/world.before" || return 73
	patiently apk add --upgrade "$@"
	code=$?
	apk_unpin || return 73
	return "$code"
}

# for all

apk_cves() { :; }
apk_reboot() { :; }
