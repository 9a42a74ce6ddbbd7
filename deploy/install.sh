#!/usr/bin/env bash
# Install or upgrade sonyc-ml as a service: deploy/install.sh [--serve] [--upload] [--pull] [--from WHEEL] [--offline FOLDER] [--extras LIST]
# The versions and hashes of what is installed stand in deploy/locks, one file for each processor and Python.
# docs/node.md says what is installed where. Every function does one step; main, at the end, calls them in order.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

readonly HOME_FOLDER=/opt/sonyc-ml VERSIONS=/opt/sonyc-ml/versions CURRENT=/opt/sonyc-ml/current
readonly CONFIG=/etc/sonyc-ml/sonyc-ml.toml CANDIDATE=/etc/sonyc-ml/.candidate.toml
readonly SERVE_UNIT=sonyc-ml-serve.service UPLOAD_UNIT=sonyc-ml-upload.service CREDENTIALS=/etc/sonyc-ml/upload
readonly METRICS_UNITS=(sonyc-ml-metrics.service sonyc-ml-metrics.timer)
readonly PULL_TIMER=sonyc-ml-pull.timer PULL_UNITS=(sonyc-ml-pull.service sonyc-ml-pull.timer)
readonly UNIT=sonyc-ml.service UNIT_FOLDER=/usr/local/lib/systemd/system
readonly SERVICE_USER=sonyc-ml STATE=/var/lib/sonyc-ml SPOOL=/var/spool/sonyc-ml
readonly PYTHON=/usr/bin/python3 NEEDED_MB=500 STEADY_S=3 N_LINES=25
readonly DONE_MARK=.complete
# To build systemd-python, of which there is only the source. 32-bit ARM has no wheels of numpy and cffi either, so there
# Debian's own packages are used.
readonly BUILD_PACKAGES=(gcc pkg-config libsystemd-dev python3-dev)
readonly ARMHF_PACKAGES=(python3-numpy python3-cffi python3-systemd libsndfile1 libatomic1)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
from='' offline='' extras='' serve='' upload='' pull='' rollback='' fetched='' work='' being_built='' started=''

usage() {
    cat <<'TEXT'
usage: deploy/install.sh [--serve] [--upload] [--pull] [--from WHEEL] [--offline FOLDER] [--extras LIST] [--rollback]
       deploy/install.sh --fetch FOLDER [--serve] [--upload] [--pull] [--extras LIST]

Install sonyc-ml as a service, or upgrade it. The new version is built beside the old one and checked; then the service
switches to it. If the service does not become active, it switches back. Run this as root, from a check-out.

  --serve           install and start the page too: sonyc-ml-serve.service, on 127.0.0.1:8080; the same as the extra
                    serve, so upgrades keep it
  --upload          install the process that uploads too: sonyc-ml-upload.service, by [upload] in the configuration; the
                    same as the extra upload
  --pull            look for new bundles every few hours: sonyc-ml-pull.timer, by source in [model] of the configuration,
                    with the packages that read the stores; upgrades keep it
  --from WHEEL      install this wheel instead of the check-out
  --offline FOLDER  take every package from this folder, and sonyc-ml too unless --from is given; no network
  --fetch FOLDER    install nothing: fill this folder for --offline, on a machine with the same processor and Python as
                    the node; needs no root
  --extras LIST     extras of the package, for example librosa,soxr; upgrades keep them ("none" removes them)
  --rollback        switch back to the version before
  --help            show this text

Exit status: 0 the service is active with this version, 1 it is not (an old version, if there was one, is active).
TEXT
}

say() { echo "install.sh: $*"; }

# The operator will look for the reason in the journal of the service.
log_to_journal() { # PRIORITY TEXT
    printf 'MESSAGE=%s\nPRIORITY=%s\nSYSLOG_IDENTIFIER=sonyc-ml-install\nOBJECT_SYSTEMD_UNIT=%s\n' \
        "$(tr '\n' ' ' <<<"$2")" "$1" "$UNIT" | logger --journald 2>/dev/null || true
}

complain() {
    echo "install.sh: $*" >&2
    log_to_journal 3 "not installed: $*"
    exit 1
}

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --from | --offline | --extras | --fetch)
                [ $# -gt 1 ] || { usage >&2; exit 1; }
                case "$1" in
                    --from) from=$(realpath -- "$2") ;;
                    --offline) offline=$(realpath -- "$2") ;;
                    --extras) extras=$2 ;;
                    --fetch) fetched=$(realpath -- "$2") ;;
                esac
                shift 2
                ;;
            --rollback) rollback=yes && shift ;;
            --serve) serve=yes && shift ;;
            --upload) upload=yes && shift ;;
            --pull) pull=yes && shift ;;
            -h | --help) usage && exit 0 ;;
            *) usage >&2 && exit 1 ;;
        esac
    done
}

# What has to be there

check_machine() {
    [ "$(id -u)" = 0 ] || { echo "install.sh: only root can install a service; run: sudo $0" >&2; exit 1; }
    [ -d /run/systemd/system ] || complain "systemd does not run here, and the service needs it"
    exec 9>/run/sonyc-ml-install.lock
    flock --nonblock 9 || complain "another install.sh is running; wait until it has ended"
}

is_armhf() { [ "$(dpkg --print-architecture 2>/dev/null)" = armhf ]; }

check_python() {
    [ -x "$PYTHON" ] || complain "there is no $PYTHON; run: apt-get install python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        complain "$PYTHON is $("$PYTHON" --version), but 3.11 or newer is needed: use Debian 12, Raspberry Pi OS 12 or newer"
    if is_armhf && "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
        complain "on 32-bit ARM the runtime supports Python up to 3.11, and this is $("$PYTHON" --version): use Debian 12, or a 64-bit system"
    fi
}

check_sources() {
    [ -z "$from" ] || [[ $from == *.whl && -f $from ]] || complain "--from $from: that is not a wheel"
    [ -z "$offline" ] || [ -d "$offline" ] || complain "--offline $offline: that is not a folder"
    [ -n "$(find "$here/models" -name '*.json' -print -quit 2>/dev/null)" ] ||
        complain "$here/models holds no bundle: run this from a complete check-out"
}

check_space() {
    local free_mb
    mkdir -p "$HOME_FOLDER"
    free_mb=$(df --output=avail -BM "$HOME_FOLDER" | tail -1 | tr -dc '0-9')
    [ "$free_mb" -ge "$NEEDED_MB" ] ||
        complain "$HOME_FOLDER has $free_mb MB free, but a version beside the old one needs $NEEDED_MB MB: free some space"
}

install_packages() {
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    [ -z "$offline" ] || complain "these packages are missing; run: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 ||
        complain "${missing[*]} cannot be installed: $(tail -n 3 "$work/apt.log")"
}

install_all_packages() {
    install_packages python3-venv
    if is_armhf; then
        install_packages "${ARMHF_PACKAGES[@]}"
    elif [ -z "$offline" ]; then
        install_packages "${BUILD_PACKAGES[@]}"
    fi
}

# A version: the virtual environment, and beside it all that belongs to it

run_pip() { # PYTHON ARGUMENT...
    local python=$1 log=$work/pip.log
    shift
    local options=(--disable-pip-version-check --no-input)
    if [ -n "$offline" ]; then # /dev/null: configurations of the machine may name other indexes
        PIP_CONFIG_FILE=/dev/null "$python" -m pip --isolated "${options[@]}" "$@" >"$log" 2>&1
    else
        "$python" -m pip "${options[@]}" "$@" >"$log" 2>&1
    fi || complain "pip $1 failed: $(grep -i error "$log" | tail -n 3 || tail -n 3 "$log")"
}

from_folder() { [ -z "$offline" ] || printf '%s\n' --no-index --find-links "$offline"; }

# What is installed: exact versions, and the hash of each file. Without a file for this processor and Python, names alone.

lock_file() {
    local machine
    if is_armhf; then machine=armv7l; else machine=$(uname -m); fi # a 64-bit kernel under a 32-bit system says aarch64
    echo "$here/deploy/locks/$machine-py$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt"
}

locked() { # GROUP...: the requirements of those who are named
    local wanted=${*//,/ } line group
    while IFS= read -r line; do
        for group in $wanted; do
            if [[ $line != "#"* && " ${line##*  # } " == *" $group "* ]]; then
                echo "${line%%  # *}"
                break
            fi
        done
    done <"$(lock_file)"
}

check_extras() {
    [ -e "$(lock_file)" ] || return 0
    local extra
    for extra in ${extras//,/ }; do
        [ "$extra" = none ] || grep -q "  # .*\b$extra\b" "$(lock_file)" ||
            complain "--extras $extra: $(basename "$(lock_file)") has no such extra"
    done
}

install_packages_of() { # PYTHON GROUP...
    local python=$1 options
    shift
    locked "$@" >"$work/requirements.txt"
    mapfile -t options < <(from_folder)
    run_pip "$python" install --require-hashes --no-deps --only-binary=:all: "${options[@]}" -r "$work/requirements.txt"
}

# The only one that is built from source. Who filled the folder for --offline has built it, so its hash is not known.
install_systemd_python() { # PYTHON
    local requirement
    requirement=$(locked source)
    if [ -n "$offline" ]; then
        run_pip "$1" install --no-deps --no-index --find-links "$offline" "${requirement%% *}"
    else
        install_packages_of "$1" build
        echo "$requirement" >"$work/requirements.txt"
        run_pip "$1" install --require-hashes --no-deps --no-build-isolation -r "$work/requirements.txt"
    fi
}

make_build_tools() { # an environment that builds wheels
    [ ! -d "$work/build" ] || return 0
    "$PYTHON" -m venv "$work/build"
    if [ -e "$(lock_file)" ]; then
        install_packages_of "$work/build/bin/python" build
    else
        run_pip "$work/build/bin/python" install hatchling setuptools
    fi
}

build_wheel() { # FOLDER
    make_build_tools
    run_pip "$work/build/bin/python" wheel --no-deps --no-build-isolation --wheel-dir "$1" "$here"
}

find_wheel() {
    [ -z "$from" ] || return 0
    local found
    if [ -n "$offline" ]; then
        mapfile -t found < <(find "$offline" -maxdepth 1 -name 'sonyc_ml-*.whl')
        [ ${#found[@]} = 1 ] ||
            complain "$offline holds ${#found[@]} wheels of sonyc-ml, but one is needed: name it with --from WHEEL"
    else
        say "building the wheel of $here"
        build_wheel "$work/wheel"
        found=("$work"/wheel/sonyc_ml-*.whl)
    fi
    from=${found[0]}
}

fetch() { # FOLDER
    [ -e "$(lock_file)" ] || complain "there is no $(lock_file): this processor or Python is not one of a node's"
    is_armhf || pkg-config --exists libsystemd 2>/dev/null ||
        complain "systemd-python is built here; run: sudo apt-get install python3-venv ${BUILD_PACKAGES[*]}"
    mkdir -p "$1"
    rm -f "$1"/sonyc_ml-*.whl
    say "filling $1"
    make_build_tools
    locked base "$extras" "${pull:+upload}" >"$work/requirements.txt"
    run_pip "$work/build/bin/python" download --require-hashes --no-deps --only-binary=:all: --dest "$1" -r "$work/requirements.txt"
    if ! is_armhf; then
        locked source >"$work/requirements.txt"
        run_pip "$work/build/bin/python" wheel --require-hashes --no-deps --no-build-isolation --wheel-dir "$1" -r "$work/requirements.txt"
    fi
    build_wheel "$1"
    say "$1 is complete; on the node: sudo deploy/install.sh --offline $1"
}

# The name of a version is a hash of everything in it, and of the Python version.
name_of_version() {
    local version digest
    version=$(basename "$from")
    version=${version#*-}
    digest=$({
        cd "$here"
        sha256sum <"$from"
        sha256sum models/* deploy/*.* deploy/drop-ins/* docs/{node,alerts,proxy,rollout,upload}.md
        cat "$(lock_file)" 2>/dev/null || true
        "$PYTHON" -VV
        echo "$extras${pull:+ pull}"
    } | sha256sum)
    echo "${version%%-*}-${digest:0:8}"
}

build() { # FOLDER
    being_built=$1
    rm -rf "$1"
    say "building $1"
    mkdir -p "$VERSIONS"
    if is_armhf; then "$PYTHON" -m venv --system-site-packages "$1"; else "$PYTHON" -m venv "$1"; fi
    if [ -e "$(lock_file)" ]; then
        install_packages_of "$1/bin/python" base "$extras" "${pull:+upload}"
        is_armhf || install_systemd_python "$1/bin/python"
        run_pip "$1/bin/python" install --no-deps --no-index "$from"
    else
        install_newest "$1"
    fi
    put_beside "$1"
    chmod -R go-w "$1"
    touch "$1/$DONE_MARK"
    being_built=''
}

install_newest() { # FOLDER
    say "there is no $(lock_file): the newest versions are installed, and their hashes are not compared"
    local options
    mapfile -t options < <(from_folder)
    run_pip "$1/bin/python" install "${options[@]}" "${from}[systemd${extras:+,$extras}${pull:+,upload}]"
}

put_beside() { # FOLDER
    install -d "$1/bundle" "$1/deploy" "$1/deploy/drop-ins" "$1/docs"
    install -m 444 "$here"/models/* "$1/bundle"
    install -m 644 "$here"/deploy/*.{conf,service,timer} "$1/deploy"
    install -m 755 "$here"/deploy/*.sh "$1/deploy"
    install -m 644 "$here"/deploy/drop-ins/*.conf "$1/deploy/drop-ins"
    install -m 644 "$here"/docs/{node,alerts,proxy,rollout,upload}.md "$1/docs"
    ln -s deploy/drop-ins "$1/drop-ins"
    echo "$extras" >"$1/deploy/extras"
    make_config "$1"
}

# deploy/sonyc-ml.toml with the paths of a node.
make_config() { # FOLDER
    sed -e "s|^folder = \"recordings\"|folder = \"$SPOOL\"|" \
        -e "s|^path = \"../models/|path = \"$CURRENT/bundle/|" \
        -e "s|^folder = \"embeddings\"|folder = \"$STATE/embeddings\"|" \
        -e "s|^# folder = \"upload\"|# folder = \"$STATE-upload\"|" \
        "$here/deploy/sonyc-ml.toml" >"$1/deploy/sonyc-ml.toml"
    [ "$(grep -cE "^(folder|path) = \"($SPOOL|$CURRENT/bundle/.*|$STATE/embeddings)\"" "$1/deploy/sonyc-ml.toml")" = 3 ] ||
        complain "deploy/sonyc-ml.toml does not name its three folders as expected"
}

# Before the switch

prepare_system() { # FOLDER: its user, its folders, its configuration; all of it stays when a version goes
    install -D -m 644 "$1/deploy/sysusers.conf" /usr/local/lib/sysusers.d/sonyc-ml.conf
    install -D -m 644 "$1/deploy/tmpfiles.conf" /usr/local/lib/tmpfiles.d/sonyc-ml.conf
    systemd-sysusers sonyc-ml.conf
    systemd-tmpfiles --create sonyc-ml.conf
    install -d -m 750 -o "$SERVICE_USER" -g "$SERVICE_USER" "$STATE"
    install -d /etc/sonyc-ml
    ! has_extra "$1" upload || install -d -m 700 "$CREDENTIALS"
    [ -e "$CONFIG" ] || install -m 644 "$1/deploy/sonyc-ml.toml" "$CONFIG"
}

# What it remembers of bundles while it is checked is forgotten: this version may never run.
as_service() {
    setpriv --reuid="$SERVICE_USER" --regid="$SERVICE_USER" --init-groups --inh-caps=-all -- \
        env -i -C / PATH="$PATH" LC_ALL="$LC_ALL" XDG_STATE_HOME="$work/state" \
        PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 "$@"
}

# Prints what is wrong with a version, as the service's user sees it, with the configuration of this machine.
check_version() { # FOLDER
    local program=$1/bin/sonyc-ml manifest
    chmod 711 "$work"
    install -d -o "$SERVICE_USER" "$work/state" "$work/state/sonyc-ml"
    local known
    for known in bundles.json trusted; do # a copy: which code may run here is known to this version as to the one before
        [ ! -f "$STATE/$known" ] || install -m 644 "$STATE/$known" "$work/state/sonyc-ml/"
    done
    as_service "$program" --version >/dev/null || return 1
    as_service "$1/bin/python" -c 'import systemd.daemon, systemd.journal' || return 1
    for manifest in "$1"/bundle/*.json; do
        as_service "$program" bundle verify "${manifest%.json}.tflite" >/dev/null ||
            { explain_crash $? "$program" "${manifest%.json}.tflite"; return 1; }
    done
    sed "s|\"$CURRENT/|\"$1/|" "$CONFIG" >"$CANDIDATE"
    check_config "$1" || return 1
    rm -f "$CANDIDATE"
}

explain_crash() { # STATUS PROGRAM BUNDLE: what killed it, where something did
    [ "$1" -lt 128 ] || as_service "$2" doctor --model "$3" | grep -A 1 '^bad' >&2 || true
}

# What doctor finds wrong with the machine is no reason to keep an old version: a new one may repair it.
check_config() { # FOLDER
    as_service "$1/bin/sonyc-ml" doctor --config "$CANDIDATE" --json >"$work/doctor.json" 2>"$work/doctor.log" || true
    "$PYTHON" - "$work/doctor.json" 2>/dev/null <<'PY' || { cat "$work/doctor.log"; return 1; }
import json, sys

DECISIVE = ("configuration", "python", "libraries", "runtime", "processor", "bundle", "golden")
bad = [entry for entry in json.load(open(sys.argv[1]))["findings"] if entry["verdict"] == "bad"]
for entry in bad:
    print(f"{entry['check']}: {entry['text']}; fix it: {entry['remedy']}")
sys.exit(any(entry["check"] in DECISIVE for entry in bad))
PY
}

refuse() { # FOLDER REASON
    [ "$1" = "$(current_version)" ] || rm -rf "$1"
    complain "$(basename "$1") was refused, and $(what_runs): $2"
}

what_runs() {
    local running
    running=$(current_version)
    if [ -n "$running" ]; then echo "$(basename "$running") stays"; else echo "nothing is installed"; fi
}

# The switch

current_version() { readlink -e "$CURRENT" || true; }

point() { # LINK TARGET: there is no moment without the link
    ln -sfn "$2" "$1.new"
    mv -T "$1.new" "$1"
}

activate() { # FOLDER
    point "$CURRENT" "versions/$(basename "$1")"
    install -D -m 644 "$1/deploy/$UNIT" "$UNIT_FOLDER/$UNIT"
    point /usr/local/bin/sonyc-ml "$CURRENT/bin/sonyc-ml"
    place_other_units "$1"
    systemctl daemon-reload
    systemctl reset-failed "$UNIT" 2>/dev/null || true
    systemctl --quiet enable "$UNIT"
}

has_extra() { # FOLDER EXTRA
    [[ " $(tr ',' ' ' <"$1/deploy/extras") " == *" $2 "* ]]
}

has_serve() { has_extra "$1" serve; }

# EXTRA UNIT: the unit is there where the extra is.
place_unit_of_extra() { # FOLDER EXTRA UNIT
    if has_extra "$1" "$2"; then
        install -D -m 644 "$1/deploy/$3" "$UNIT_FOLDER/$3"
    elif [ -e "$UNIT_FOLDER/$3" ]; then
        systemctl --quiet disable --now "$3" || true
        rm -f "$UNIT_FOLDER/$3"
    fi
}

# Units beside the daemon's. A version of before has none of them, or other ones.
place_other_units() { # FOLDER
    local unit
    for unit in "${METRICS_UNITS[@]}" "${PULL_UNITS[@]}"; do
        if [ -e "$1/deploy/$unit" ]; then install -D -m 644 "$1/deploy/$unit" "$UNIT_FOLDER/$unit"; fi
    done
    place_unit_of_extra "$1" serve "$SERVE_UNIT"
    place_unit_of_extra "$1" upload "$UPLOAD_UNIT"
}

# It uploads as soon as the configuration says where to.
start_upload() { # FOLDER
    has_extra "$1" upload || return 0
    systemctl reset-failed "$UPLOAD_UNIT" 2>/dev/null || true
    systemctl --quiet enable "$UPLOAD_UNIT"
    if grep -q '^\[upload\]' "$CONFIG" && grep -q '^to = ' "$CONFIG"; then
        if systemctl restart "$UPLOAD_UNIT" && sleep 1 && systemctl --quiet is-active "$UPLOAD_UNIT"; then
            say "$UPLOAD_UNIT is active"
            return
        fi
        echo "install.sh: $UPLOAD_UNIT does not become active; the daemon runs. See: journalctl --unit=$UPLOAD_UNIT" >&2
        log_to_journal 4 "$UPLOAD_UNIT does not become active"
    else
        say "say in [upload] of $CONFIG where outputs go (to) and uncomment folder, put credentials into $CREDENTIALS, then: systemctl start $UPLOAD_UNIT"
    fi
}

# The daemon runs by now, and goes on whatever becomes of the page.
start_serve() { # FOLDER
    has_serve "$1" || return 0
    systemctl reset-failed "$SERVE_UNIT" 2>/dev/null || true
    systemctl --quiet enable "$SERVE_UNIT"
    if systemctl restart "$SERVE_UNIT" && sleep 1 && systemctl --quiet is-active "$SERVE_UNIT"; then
        say "$SERVE_UNIT is active: docs/proxy.md says how others get to see it"
        return
    fi
    echo "install.sh: $SERVE_UNIT does not become active; the daemon runs. See: journalctl --unit=$SERVE_UNIT" >&2
    log_to_journal 4 "$SERVE_UNIT does not become active"
}

# What it fetches is for the daemon, which runs by now.
start_pull() {
    [ -n "$pull" ] || return 0
    systemctl --quiet enable --now "$PULL_TIMER" || echo "install.sh: $PULL_TIMER cannot be started" >&2
    grep -q '^source = ' "$CONFIG" || say "$PULL_TIMER runs, and finds no source in [model] of $CONFIG yet: docs/rollout.md"
}

becomes_active() { systemctl restart "$UNIT" && stays_active; }

stays_active() {
    local end=$((SECONDS + STEADY_S))
    while [ $SECONDS -lt $end ]; do
        sleep 0.2
        systemctl --quiet is-active "$UNIT" || return 1
    done
    [ "$(systemctl show --value --property=NRestarts "$UNIT")" = 0 ]
}

switch() { # FOLDER
    local before
    before=$(current_version)
    activate "$1"
    if becomes_active; then
        [ -z "$before" ] || [ "$before" = "$1" ] || point "$HOME_FOLDER/previous" "versions/$(basename "$before")"
        start_serve "$1"
        start_upload "$1"
        start_pull
        return
    fi
    fall_back "$1" "$before"
}

fall_back() { # FOLDER BEFORE
    local lines
    systemctl stop "$UNIT" || true
    journalctl --sync 2>/dev/null || true
    lines=$(journalctl --unit="$UNIT" --since="$started" --lines="$N_LINES" --no-pager --output=cat || true)
    echo "$lines" >&2
    if [ -z "$2" ] || [ "$2" = "$1" ]; then
        complain "the service does not become active with $(basename "$1"); its last lines are above"
    fi
    activate "$2"
    becomes_active || complain "the service becomes active neither with $(basename "$1") nor, again, with $(basename "$2")"
    start_serve "$2"
    start_upload "$2"
    rm -rf "$1"
    complain "the service did not become active with $(basename "$1"); $(basename "$2") runs again. Last lines: $lines"
}

roll_back() {
    local previous
    previous=$(readlink -e "$HOME_FOLDER/previous") || complain "there is no version before this one"
    switch "$previous"
    say "$(basename "$previous") runs again"
}

remove_old_versions() {
    local folder
    for folder in "$VERSIONS"/*/; do
        folder=${folder%/}
        case "$folder" in "$(current_version)" | "$(readlink -e "$HOME_FOLDER/previous" || true)") continue ;; esac
        say "removing $folder"
        rm -rf "$folder"
    done
}

is_in_use() { # FOLDER
    [ "$1" = "$(current_version)" ] && cmp --silent "$1/deploy/$UNIT" "$UNIT_FOLDER/$UNIT" &&
        systemctl --quiet is-active "$UNIT" && systemctl --quiet is-enabled "$UNIT" &&
        { ! has_serve "$1" || systemctl --quiet is-active "$SERVE_UNIT"; }
}

add_wanted() {
    [ -z "$serve" ] || [[ " ${extras//,/ } " == *" serve "* ]] || extras=${extras:+$extras,}serve
    [ -z "$upload" ] || [[ " ${extras//,/ } " == *" upload "* ]] || extras=${extras:+$extras,}upload
}

choose_extras() {
    [ -n "$pull" ] || ! systemctl --quiet is-enabled "$PULL_TIMER" 2>/dev/null || pull=yes
    if [ -z "$extras" ] && [ -e "$CURRENT/deploy/extras" ]; then extras=$(cat "$CURRENT/deploy/extras"); fi
    [ "$extras" != none ] || extras=''
    add_wanted
}

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    rm -rf "$work" "$CANDIDATE" ${being_built:+"$being_built"}
}

main() {
    parse "$@"
    [ -n "$fetched" ] || check_machine
    work=$(mktemp -d)
    trap clean_up EXIT
    if [ -n "$fetched" ]; then
        check_python
        add_wanted
        check_extras
        fetch "$fetched"
        return
    fi
    started=$(date '+%F %T')
    if [ -n "$rollback" ]; then roll_back; return; fi
    check_sources
    check_python
    check_space
    choose_extras
    check_extras
    install_all_packages
    find_wheel
    local version folder reason
    version=$(name_of_version)
    folder=$VERSIONS/$version
    [ -e "$folder/$DONE_MARK" ] || build "$folder"
    prepare_system "$folder"
    reason=$(check_version "$folder" 2>&1) || refuse "$folder" "${reason//$CANDIDATE/$CONFIG}"
    [ -z "$reason" ] || say "${reason//$CANDIDATE/$CONFIG}"
    if is_in_use "$folder"; then say "$version is installed already, and active"; return; fi
    switch "$folder"
    remove_old_versions
    log_to_journal 5 "$version is installed"
    say "$version is installed and active; recordings go to $SPOOL, embeddings are in $STATE/embeddings"
}

# scripts/test-arm runs single steps of it.
[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
