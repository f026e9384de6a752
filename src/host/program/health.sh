# What a node's disks and sensors say: `sh -s -- health`. Disks that sleep are not woken.
set -u
LC_ALL=C
export LC_ALL
hwmon=/sys/class/hwmon

smart() {
	if ! command -v smartctl >/dev/null 2>&1; then
		echo '[missing smartctl]'
		return
	fi
	lsblk -d -n -o PATH,TYPE | while read -r disk kind; do
		[ "$kind" = disk ] || continue
		case $disk in
		/dev/zd* | /dev/rbd* | /dev/nbd* | /dev/loop* | /dev/zram*) continue ;;
		esac
		printf '[disk %s]\n' "$disk"
		smartctl -j -n standby -i -H -A "$disk" </dev/null
	done
}

value() {
	[ -r "$1" ] && head -n 1 "$1" 2>/dev/null | tr -s ' \t' '__'
}

# A line a sensor: CHIP LABEL temp|fan VALUE CRITICAL, in thousandths of a degree and turns a minute.
sensors() {
	echo '[sensors]'
	for chip in "$hwmon"/hwmon*; do
		[ -d "$chip" ] || continue
		name=$(value "$chip/name")
		for input in "$chip"/temp*_input "$chip"/fan*_input; do
			[ -r "$input" ] || continue
			at=${input%_input}
			kind=temp
			case ${at##*/} in
			fan*) kind=fan ;;
			esac
			label=$(value "${at}_label")
			critical=$(value "${at}_crit")
			now=$(value "$input")
			[ -n "$now" ] || continue
			printf '%s %s %s %s %s\n' "${name:--}" "${label:-${at##*/}}" "$kind" "$now" "${critical:--}"
		done
	done
}

main() {
	smart
	sensors
	echo '[end]'
}

main "$@" </dev/null
