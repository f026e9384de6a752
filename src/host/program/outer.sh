# What goes by standard input to `/bin/sh -s -- VERB WINDOW NAME …`. It is constant but for the list. The program stands in a
# text that no shell expands; it is run only once all of it has come, so that half of it does nothing.
umask 077
program=$(cat <<'PVECTL_PROGRAM'
@PROGRAM@
PVECTL_PROGRAM
)
list=$(cat <<'PVECTL_END'
@LIST@
PVECTL_END
)
export program list
exec /bin/sh -c "$program" pvectl "$@" </dev/null
