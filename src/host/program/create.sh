# Creates a container: arguments are `create` and its number, the list below is what it is made from and its options.
# Goes on when the connection is lost: a creation that is cut off would leave a locked container.
set -eu
# pct takes its arguments for what the locale says; ours are UTF-8.
export LC_ALL=C.UTF-8
create() {
umask 077
vmid=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
template=
while IFS=' ' read -r key text; do
    value=$(printf '%bx' "$text")
    value=${value%x}
    case $key in
    template) template=$value ;;
    # The API takes the keys themselves here, pct the name of a file with them.
    ssh-public-keys)
        printf '%s\n' "$value" >"$folder/keys"
        set -- "$@" "--$key=$folder/keys"
        ;;
    *) set -- "$@" "--$key=$value" ;;
    esac
done <<'PVECTL_END'
@LIST@
PVECTL_END
code=0
pct create "$vmid" "$template" "$@" >"$folder/log" 2>&1 </dev/null || code=$?
if [ "$code" = 0 ]; then cat "$folder/log"; else cat "$folder/log" >&2; fi
exit "$code"
}
# A text that is cut off runs nothing.
create "$@"
