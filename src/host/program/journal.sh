# Reads the journal of the system that it runs in: `sh -s -- journal LINES SINCE`. The list holds the place to go on from, if
# any. The first line says how it is read: `journald`, `file NAME:INODE BYTES`, or `none`.
set -u
LC_ALL=C
export LC_ALL
at_once=1000
# Less than a transport keeps of the output; a line that is cut off comes again.
bytes=1500000
logs=/var/log

list() {
	cat <<'PVECTL_END'
@LIST@
PVECTL_END
}

bounded() {
	head -n "$at_once" | head -c "$bytes"
}

# From a byte on, at most so many lines.
from() {
	echo "file $1 $2"
	tail -c "+$(($2 + 1))" "$3" | bounded
}

of_journald() {
	echo journald
	fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID
	if [ -n "$place" ]; then
		journalctl -q --no-pager -o json --output-fields="$fields" --after-cursor="$place" | bounded
	elif [ "$since" != - ]; then
		journalctl -q --no-pager -o json --output-fields="$fields" --since="@$since" -n "$lines" | bounded
	else
		journalctl -q --no-pager -o json --output-fields="$fields" -n "$lines" | bounded
	fi
}

of_file() {
	file=$1
	inode=$(ls -i "$file" | awk '{print $1}')
	name=$file:$inode
	size=$(($(wc -c <"$file")))
	if [ "${place% *}" = "$name" ]; then
		start=${place##* }
	elif [ -n "$place" ]; then
		# It was rotated: what was left of the old one, then the new one from its beginning.
		if [ -s "$file.1" ] && [ "${place% *}" = "$file:$(ls -i "$file.1" | awk '{print $1}')" ] &&
			[ "${place##* }" -lt "$(($(wc -c <"$file.1")))" ]; then
			from "${place% *}" "${place##* }" "$file.1"
			return
		fi
		start=0
	else
		start=$((size - $(tail -n "$lines" "$file" | wc -c)))
	fi
	case $start in
	*[!0-9]*) start=0 ;;
	esac
	# Emptied, and begun anew.
	[ "$start" -le "$size" ] || start=0
	from "$name" "$start" "$file"
}

main() {
	lines=$2 since=$3
	place=$(list | head -n 1)
	if command -v journalctl >/dev/null 2>&1 && [ -n "$(journalctl -q --no-pager -n 1 -o short 2>/dev/null)" ]; then
		of_journald
		return
	fi
	for name in syslog messages; do
		if [ -s "$logs/$name" ]; then
			of_file "$logs/$name"
			return
		fi
	done
	echo none
}

main "$@" </dev/null
