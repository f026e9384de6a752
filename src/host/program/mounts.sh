# Mounts of a node by systemd mount units. Fed to `sh -s -- VERB …`; the one thing that is filled in is the list below, which
# the shell takes literally. Children read nothing: standard input is this text.
set -u
LC_ALL=C
export LC_ALL
units=/etc/systemd/system
fstab=/etc/fstab
by_uuid=/dev/disk/by-uuid

list() {
	cat <<'PVECTL_END'
@LIST@
PVECTL_END
}

die() {
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

unit_of() {
	systemd-escape --path --suffix=mount "$1"
}

# What is mounted on top at a path: SOURCE or UUID.
mounted() {
	findmnt -n -o "$1" --mountpoint "$2" 2>/dev/null | tail -n 1
}

ours() {
	grep -q '^# <!-- pvectl ' "$1"
}

look() {
	echo '[mounts]'
	findmnt -J -l -o TARGET,SOURCE,FSTYPE,OPTIONS,UUID || die 20 'findmnt failed'
	echo '[devices]'
	lsblk -J -b -o PATH,UUID,FSTYPE,SIZE,LABEL,TYPE || die 21 'lsblk failed'
	echo '[fstab]'
	[ ! -r "$fstab" ] || sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' "$fstab"
	for file in "$units"/*.mount; do
		[ -f "$file" ] || continue
		name=${file##*/}
		printf '[unit %s]\n' "$name"
		printf 'enabled=%s\n' "$(systemctl is-enabled -- "$name" 2>/dev/null)"
		printf 'active=%s\n' "$(systemctl is-active -- "$name" 2>/dev/null)"
		sed 's/^/|/' "$file"
	done
	echo '[end]'
}

folder() {
	path=$1
	if [ ! -e "$path" ] && [ ! -L "$path" ]; then
		echo absent
	elif [ ! -d "$path" ]; then
		echo file
	elif [ -z "$(ls -A -- "$path")" ]; then
		echo empty
	else
		echo full
		ls -A -- "$path" | head -n 5
	fi
}

# What stands in the unit, all of it.
unit_text() {
	printf '# Written by pvectl. It is written anew when its manifest changes.\n'
	printf '# %s\n' "$marker"
	printf '[Unit]\nDescription=%s, mounted for pvectl\nBefore=pve-guests.service\n\n' "$path"
	printf '[Mount]\nWhat=/dev/disk/by-uuid/%s\nWhere=%s\nType=%s\nOptions=%s\n\n' "$uuid" "$path" "$type" "$options"
	if [ "$need" = required ]; then
		printf '[Install]\nRequiredBy=local-fs.target\n'
	else
		printf '[Install]\nWantedBy=multi-user.target\n'
	fi
}

# mount UUID PATH TYPE OPTIONS wanted|required own|any; the marker is the first line of the list.
mount_it() {
	uuid=$1 path=$2 type=$3 options=$4 need=$5 whose=$6
	marker=$(list | head -n 1)
	case $marker in
	'<!-- pvectl '*) ;;
	*) die 30 'there is no marker' ;;
	esac
	unit=$(unit_of "$path") || die 31 "systemd-escape failed for $path"
	file=$units/$unit
	if [ -e "$file" ] && [ "$whose" != any ]; then
		ours "$file" || die 32 "there is a unit $unit already, which pvectl did not write"
	fi
	if findmnt --mountpoint "$path" >/dev/null 2>&1; then
		[ "$(mounted UUID "$path")" = "$uuid" ] || die 33 "$(mounted SOURCE "$path") is mounted at $path already"
		# With source and target given, the options are these and no others.
		mount -o "remount,$options" "$by_uuid/$uuid" "$path" ||
			die 34 "the options need an unmount first: stop what uses $path, then systemctl stop '$unit', and apply again"
	else
		[ -e "$by_uuid/$uuid" ] || die 35 "there is no file system with the UUID $uuid on this node just now"
		if [ -r "$fstab" ]; then
			while read -r _ where _; do
				[ "$where" != "$path" ] || die 36 "$fstab has a line for $path"
			done <"$fstab"
		fi
		case $(folder "$path" | head -n 1) in
		absent) mkdir -p -- "$path" || die 37 "$path cannot be made" ;;
		empty) ;;
		*) die 38 "$path is no empty folder: what is in it would be hidden" ;;
		esac
	fi
	unit_text >"$file.pvectl-new" && mv -f -- "$file.pvectl-new" "$file" || die 39 "$file cannot be written"
	systemctl daemon-reload || die 40 'systemctl daemon-reload failed'
	systemctl --quiet reenable -- "$unit" || die 41 "systemctl reenable $unit failed"
	systemctl start -- "$unit" || die 42 "systemctl start $unit failed; see: journalctl -u '$unit'"
	[ "$(mounted UUID "$path")" = "$uuid" ] || die 43 "$unit was started, and $uuid is not mounted at $path"
}

# unmount PATH
unmount_it() {
	path=$1
	unit=$(unit_of "$path") || die 31 "systemd-escape failed for $path"
	file=$units/$unit
	[ -e "$file" ] || return 0
	ours "$file" || die 32 "pvectl did not write $unit"
	systemctl stop -- "$unit"
	if findmnt --mountpoint "$path" >/dev/null 2>&1; then
		users=$(fuser -m "$path" 2>/dev/null | tr -s ' \n' ' ')
		die 44 "$path is still mounted: it is in use${users:+ by the processes$users}"
	fi
	systemctl --quiet disable -- "$unit" || die 45 "systemctl disable $unit failed"
	rm -f -- "$file" || die 46 "$file cannot be removed"
	systemctl daemon-reload || die 40 'systemctl daemon-reload failed'
}

main() {
	verb=$1
	shift
	case $verb in
	look) look ;;
	folder) folder "$@" ;;
	mount) mount_it "$@" ;;
	unmount) unmount_it "$@" ;;
	*) die 2 "unknown verb $verb" ;;
	esac
}

main "$@" </dev/null
