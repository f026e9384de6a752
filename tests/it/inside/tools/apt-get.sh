# A list of what is installed in $T/db (NAME VERSION), of what the repositories have in $T/repo (NAME VERSION ORIGIN).
last= install= from= fix= keep=
for word; do
    case $word in
        update)
            [ ! -f "$T/offline" ] || { echo 'Err:1 http://deb.example.org stable InRelease'; echo 'W: Failed to fetch http://deb.example.org'; exit 0; }
            echo 'Reading package lists...'
            exit 0 ;;
        check) [ ! -f "$T/broken" ] || exit 100; exit 0 ;;
        dist-upgrade | install) last=$word ;;
        -f) fix=1 ;;
        APT::Get::Remove=false) keep=1 ;;
        -s) from=simulation ;;
        [a-z]*=*) install="$install $word" ;;
    esac
done
if [ "$from" = simulation ]; then
    while read -r name version origin; do
        is=$(awk -v n="$name" '$1 == n { print $2 }' "$T/db")
        [ "$is" != "$version" ] || continue
        echo "Inst $name ${is:+[$is] }($version $origin [amd64])"
        echo "Conf $name ($version $origin [amd64])"
    done <"$T/repo"
    exit 0
fi
if [ -f "$T/locked" ]; then
    rm "$T/locked"
    echo 'E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 77 (apt-get)' >&2
    exit 100
fi
if [ -n "$fix" ]; then
    [ ! -f "$T/broken" ] || { read -r name version <"$T/broken"; rm "$T/broken"; install="$name=$version"; echo "$name $version x" >>"$T/repo"; }
elif [ -f "$T/removes" ]; then
    [ -z "$keep" ] || { echo 'E: Packages need to be removed but remove is disabled.' >&2; exit 100; }
    grep -Fvxf "$T/removes" "$T/db" >"$T/db.new" && mv "$T/db.new" "$T/db"
fi
if [ "$last" = dist-upgrade ]; then
    install=$(awk '{ print $1 "=" $2 }' "$T/repo")
fi
for one in $install; do
    name=${one%%=*} version=${one#*=}
    grep -q "^$name $version " "$T/repo" || { echo "E: Version '$version' for '$name' was not found" >&2; exit 100; }
done
for one in $install; do
    name=${one%%=*} version=${one#*=}
    echo "Setting up $name ($version) ..."
    [ ! -f "$T/flood" ] || head -c 3000000 /dev/zero | tr '\0' 'x'
    while [ -f "$T/slow" ]; do sleep 0.1; done
    { grep -v "^$name " "$T/db"; echo "$name $version"; } >"$T/db.new"
    mv "$T/db.new" "$T/db"
done
[ -n "$install" ] || exit 0
exit "$(cat "$T/exit" 2>/dev/null || echo 0)"
