# $T/db: NAME VERSION; $T/repo: the same; the list of wished packages is $T/root/etc/apk/world.
world=$T/root/etc/apk/world
newest() { awk -v n="$1" '$1 == n { print $2 }' "$T/repo"; }
case $1 in
update) echo 'OK: 25000 distinct packages available'; [ ! -f "$T/offline" ] || { echo 'WARNING: updating and opening http://dl.example.org: temporary error'; exit 0; } ;;
info) awk '{ print $1 "-" $2 }' "$T/db" ;;
fix) ;;
policy)
    shift
    for name; do
        echo "$name policy:"
        { awk -v n="$name" '$1 == n { print $2, "lib/apk/db/installed" }' "$T/db"
            awk -v n="$name" '$1 == n { print $2, "https://dl.example.org/alpine/v3.22/main" }' "$T/repo"; } |
            awk '{ print "  " $1 ":"; print "    " $2 }'
    done ;;
version)
    if [ "$2" = -t ]; then
        [ "$3" = "$4" ] && echo '=' && exit
        [ "$(printf '%s\n%s\n' "$3" "$4" | sort -V | tail -n 1)" = "$3" ] && echo '>' || echo '<'
        exit
    fi
    echo 'Installed:                                Available:'
    while read -r name version; do
        new=$(newest "$name")
        [ -z "$new" ] || [ "$new" = "$version" ] || echo "$name-$version < $new"
    done <"$T/db" ;;
add)
    shift 2
    for one; do
        name=${one%%=*} version=${one#*=}
        [ "$(newest "$name")" = "$version" ] || { echo "ERROR: unable to select packages: $one"; exit 1; }
        { grep -Ev "^$name([=<>~].*)?\$" "$world"; echo "$one"; } >"$world.new"
        mv "$world.new" "$world"
        while [ -f "$T/slow" ]; do sleep 0.1; done
        { grep -v "^$name " "$T/db"; echo "$name $version"; } >"$T/db.new"
        mv "$T/db.new" "$T/db"
    done ;;
esac
