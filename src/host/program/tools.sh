# Says where we are, as whom, and which of the programs that are named are there.
printf 'name=%s\n' "$(uname -n)"
printf 'user=%s\n' "$(id -un)"
if command -v pveversion >/dev/null 2>&1; then printf 'version=%s\n' "$(pveversion 2>/dev/null | head -n 1)"; fi
for tool in "$@"; do
    place=$(command -v "$tool" 2>/dev/null) && printf 'tool=%s %s\n' "$tool" "$place"
done
exit 0
