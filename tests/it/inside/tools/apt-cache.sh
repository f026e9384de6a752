# What the repositories have: $T/repo (NAME VERSION ORIGIN).
[ "$1" = madison ] || exit 100
shift
for name; do
    awk -v n="$name" '$1 == n { printf "%10s | %10s | http://deb.example.org stable/main amd64 Packages\n", $1, $2 }
        $1 == n { printf "%10s | 99 | http://deb.example.org stable/main Sources\n", $1 }' "$T/repo"
done
