#!/bin/sh
# Runs the driver of a run as a Slurm job. Written by dnc-run. Arguments: the program and its arguments.
# A driver that dies is started again by Slurm: jobs that it had submitted go on meanwhile, and the next driver takes them up.
child='' limit=''

# Slurm sends SIGUSR1 to this shell a minute before the time limit. The driver is killed, since one that is asked to stop cancels its jobs.
trap 'limit=yes; [ -z "$child" ] || kill -KILL "$child" 2>/dev/null' USR1
# Slurm sends SIGTERM to every process of a job that is cancelled or preempted: the driver cancels its jobs, and this shell waits for it.
trap : TERM

"$@" &
child=$!
# A signal that came before the shell knew the child.
[ -z "$limit" ] || kill -KILL "$child" 2>/dev/null
wait "$child"
code=$?
# A signal ends `wait` before the child has ended.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done

if [ -n "$limit" ]; then
    why='its job reached its time limit'
elif [ "$code" -gt 128 ] && [ "$code" != 130 ] && [ "$code" != 143 ]; then
    why="it was killed by signal $((code - 128))"
    [ "$code" != 137 ] || why="$why; if memory ran out, raise \`memory\` in [executor.slurm.driver] of dnc.toml"
    if [ "${SLURM_RESTART_COUNT:-0}" -ge 3 ]; then
        echo "note: the driver ended: $why. Its job was started again several times already; call dnc-run again to go on" >&2
        exit "$code"
    fi
else
    exit "$code"
fi
echo "note: the driver ended: $why. Slurm starts it again, and it takes up its jobs" >&2
scontrol requeue "$SLURM_JOB_ID" || echo "note: Slurm does not start it again; call dnc-run again to go on" >&2
exit 1
