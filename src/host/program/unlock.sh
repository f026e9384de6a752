# Takes away the lock that a task left on a guest. Looked at once more right here: another lock, or a task that runs, stays.
# unlock qemu|lxc VMID LOCK
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unlock() {
case $2 in
qemu) tool=qm ;;
lxc) tool=pct ;;
*) echo "no such type of guest" >&2; exit 64 ;;
esac
config=$($tool config "$3" --current 1 </dev/null 2>/dev/null) || config=$($tool config "$3" </dev/null) || exit 2
lock=$(printf '%s\n' "$config" | sed -n 's/^lock: *//p')
if [ -z "$lock" ]; then
    echo "it is not locked"
    exit 0
fi
if [ "$lock" != "$4" ]; then
    echo "its lock is \`$lock\` now, not \`$4\`: left alone" >&2
    exit 3
fi
node=$(hostname -s)
active=$(pvesh get "/nodes/$node/tasks" --source active --vmid "$3" --output-format json </dev/null) || exit 4
case $active in
*UPID:*) echo "a task works on it: left alone" >&2; exit 3 ;;
esac
$tool unlock "$3" </dev/null
}
# A text that is cut off runs nothing.
unlock "$@"
