#!/bin/sh
# Runs the nodes of one Slurm job, one after another: those on line SLURM_ARRAY_TASK_ID + 1 of the list of its array.
# Written by dnc-run. Arguments: the program, the folder of task files, the name of the array.
program=$1 folder=$2 array=$3
child='' stopped='' missing=0

# Slurm sends SIGTERM to this shell a minute before the time limit: `train` then stops at once and later goes on from its last epoch.
trap 'stopped=yes; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM

for task in $(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$folder/$array.tasks"); do
    # A job that Slurm queued again keeps what it has done; the driver removes what it has seen.
    [ -e "$folder/$task.answer.json" ] && continue
    [ -e "$folder/$task.json" ] || continue
    if [ -n "$stopped" ]; then
        : >"$folder/$task.stopped"
        missing=1
        continue
    fi
    rm -f "$folder/$task.exit" "$folder/$task.stopped"
    "$program" task --batch "$folder/$task.json" >>"$folder/$task.events" 2>>"$folder/$task.log" &
    child=$!
    # A signal that came before the shell knew the child.
    [ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null
    wait "$child"
    code=$?
    # A signal ends `wait` before the child has ended.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        code=$?
    done
    child=''
    # A task that ends well has left an answer, which the driver may have taken away since.
    { [ "$code" = 0 ] || [ -e "$folder/$task.answer.json" ]; } && continue
    missing=1
    # Slurm may have sent the signal to the process and not to this shell.
    case $code in 130 | 143) stopped=yes ;; esac
    if [ -n "$stopped" ]; then
        : >"$folder/$task.stopped"
    else
        echo "$code" >"$folder/$task.exit"
    fi
done
exit "$missing"
