# shellcheck shell=bash
# For scripts/test, which sources it: checks that run one by one or beside others, and an end that names those that failed.
logs=$(mktemp -d)
declare -A lanes
failed=()
finished='' # set by the script when it has come to its end; a signal leaves no status that says so
trap close EXIT # whatever ends the script, its last lines name what failed

# Note that a check failed.
fail() { echo "scripts/test: $1: FAILED after $SECONDS s" && failed+=("$1"); }

# Run a check, and keep what it says, which is shown meanwhile: check NAME COMMAND…
check() {
    local name=$1
    shift
    "$@" 2>&1 | tee "$logs/$name" || { fail "$name" && return 1; }
}

# Begin a check beside the rest, with its output kept for later: lane NAME COMMAND…
lane() {
    local name=$1
    shift
    { "$@" && echo "scripts/test: $name: passed after $SECONDS s"; } >"$logs/$name" 2>&1 &
    lanes[$name]=$!
}

# For a lane that is to wait for another one: lane NAME after OTHER COMMAND…
after() {
    tail --pid="${lanes[$1]}" -f /dev/null
    shift
    "$@"
}

# Wait for what was begun, and show what it said. Status 77 is no failure: it cannot be done here.
join() {
    local status=0
    wait "${lanes[$1]}" || status=$?
    cat "$logs/$1"
    case $status in
        0) ;;
        77) echo "scripts/test: $1: not done here" ;;
        *) fail "$1" && return 1 ;;
    esac
}

# What a check that failed said last, and which of its tests failed.
show_failed() {
    echo "scripts/test: $1 FAILED. It said last:"
    tail -n 5 "$logs/$1" | cut -c -200 | sed 's/^/    /'
    # pytest's own list, which may be further up; without colours
    sed 's/\x1b\[[0-9;]*m//g' "$logs/$1" | grep -aE '^(FAILED|ERROR) [^ ]+\.py' | cut -c -200 | head -n 40 | sed 's/^/  /' || true
}

# End the script: each check that failed with its tests, and a line that says how it went.
close() {
    local name
    for name in "${failed[@]}"; do show_failed "$name"; done
    rm -rf "$logs"
    [ -n "$finished" ] || failed+=("(ended before its end)")
    if [ ${#failed[@]} = 0 ]; then echo "scripts/test: passed, in $SECONDS s" && exit 0; fi
    echo "scripts/test: FAILED, in $SECONDS s: ${failed[*]}"
    exit 1
}
