# Add a line to hooks.log: what happened, to whom, and how it ended where something did. procwatch tells a hook by its
# environment.
echo "$PROCWATCH_EVENT $PROCWATCH_NAME${PROCWATCH_EXIT_CODE:+ exit $PROCWATCH_EXIT_CODE}" >> hooks.log
