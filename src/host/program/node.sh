# The work on a Proxmox VE node, on top of a guest's: the whole upgrade, and the services of Proxmox VE.
VERBS='upgrade health'

# The kernel that was pinned is the one that boots; else the newest.
apt_reboot() {
	pin=$(head -n 1 "$ROOT/etc/kernel/proxmox-boot-pin" 2>/dev/null)
	if [ -n "$pin" ]; then
		[ "$pin" = "$(uname -r)" ] || printf 'kernel %s is pinned, %s runs\n' "$pin" "$(uname -r)"
		return 0
	fi
	newer_kernel
}

# Proxmox VE is upgraded by dist-upgrade and never by upgrade, which would hold back what its packages newly need.
work_upgrade() {
	system
	manager=apt
	failed_units >"$job/failed"
	apt_installed 2>>"$job/log" | sort >"$job/before"
	printf '%s\n' "$manager" >"$job/manager"
	apt_repair
	code=$?
	if [ "$code" -eq 0 ]; then
		apt_environment keep
		apt_get keep dist-upgrade
		code=$?
	fi
	outcome "$code"
}

baseline() {
	for baseline in "$dir/${name%%-*}-upgrade/failed" "$dir/${name%%-*}-upgrade"[0-9]/failed /dev/null; do
		[ ! -e "$baseline" ] || return 0
	done
}

more_checks() {
	bad=
	services='pve-cluster pvedaemon pveproxy pvestatd'
	[ ! -f "$ROOT/etc/pve/corosync.conf" ] || services="corosync $services"
	for service in $services; do
		systemctl is-active --quiet "$service" </dev/null 2>/dev/null || bad="$bad $service"
	done
	if [ -z "$bad" ]; then
		check services ok "active: $services"
	else
		check services bad "not active:$bad"
		return 1
	fi
}
