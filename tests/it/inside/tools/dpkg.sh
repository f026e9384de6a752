# $T/half: packages that are unpacked and not configured.
case $* in
*--print-architecture*) echo amd64 ;;
*--compare-versions*) [ "$(printf '%s\n%s\n' "$2" "$4" | sort -V | tail -n 1)" = "$2" ] ;;
*--audit*)
    [ ! -f "$T/half" ] || { echo 'The following packages have been unpacked but not yet configured.'; cat "$T/half"; } ;;
*--configure*) rm -f "$T/half" ;;
esac
