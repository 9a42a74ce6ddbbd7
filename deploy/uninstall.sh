#!/usr/bin/env bash
# Remove the service and its program: deploy/uninstall.sh [--purge] [--recordings]
set -euo pipefail
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

readonly UNIT=sonyc-ml.service
readonly UNITS=(sonyc-ml-upload.service sonyc-ml-serve.service sonyc-ml-metrics.timer sonyc-ml-metrics.service sonyc-ml-pull.timer sonyc-ml-pull.service "$UNIT")
readonly CONFIG=/etc/sonyc-ml STATE=/var/lib/sonyc-ml SPOOL=/var/spool/sonyc-ml

usage() {
    cat <<'TEXT'
usage: deploy/uninstall.sh [--purge] [--recordings]

Remove the service and its program. The configuration, drop-ins, embeddings, the journal of the recordings, the
recordings and the user stay.

  --purge       remove the configuration, the drop-ins, the embeddings and the journal of the recordings too
  --recordings  remove the recordings in /var/spool/sonyc-ml too
  --help        show this text

The user is removed when no file of it is left. You can run this again without harm.
TEXT
}

parse() {
    purge='' recordings=''
    for argument in "$@"; do
        case "$argument" in
            --purge) purge=yes ;;
            --recordings) recordings=yes ;;
            -h | --help) usage && exit 0 ;;
            *) usage >&2 && exit 1 ;;
        esac
    done
}

remove_service() {
    local unit
    for unit in "${UNITS[@]}"; do
        if systemctl cat "$unit" >/dev/null 2>&1; then systemctl --quiet disable --now "$unit"; fi
        rm -f "/usr/local/lib/systemd/system/$unit"
    done
    systemctl daemon-reload
    systemctl reset-failed "${UNITS[@]}" 2>/dev/null || true
}

# /opt/sonyc-ml/bundles holds what the operator put there.
remove_program() {
    rm -f /usr/local/bin/sonyc-ml /opt/sonyc-ml/current /opt/sonyc-ml/previous
    rm -rf /opt/sonyc-ml/versions /var/cache/sonyc-ml
    rm -f /usr/local/lib/tmpfiles.d/sonyc-ml.conf
    if [ -n "$purge" ]; then rm -rf /opt/sonyc-ml; else rmdir --ignore-fail-on-non-empty /opt/sonyc-ml 2>/dev/null || true; fi
}

remove_data() {
    if [ -n "$purge" ]; then rm -rf "$CONFIG" "$STATE" "$STATE-upload" /etc/systemd/system/sonyc-ml{,-serve,-upload,-metrics,-pull}.service.d && systemctl daemon-reload; fi
    if [ -n "$recordings" ]; then rm -rf "$SPOOL"; fi
}

remove_user() {
    rmdir --ignore-fail-on-non-empty "$SPOOL" 2>/dev/null || true
    if [ -e "$STATE" ] || [ -e "$STATE-upload" ] || [ -e "$SPOOL" ]; then return; fi
    rm -f /usr/local/lib/sysusers.d/sonyc-ml.conf
    local name
    for name in sonyc-ml-upload sonyc-ml-serve sonyc-ml; do
        if getent passwd "$name" >/dev/null; then userdel "$name"; fi
        if getent group "$name" >/dev/null; then groupdel "$name"; fi
    done
}

say_what_is_left() {
    local left=() path
    for path in "$CONFIG" /etc/systemd/system/sonyc-ml{,-serve,-upload,-metrics,-pull}.service.d "$STATE" "$STATE-upload" "$SPOOL" /opt/sonyc-ml/bundles; do
        if [ -e "$path" ]; then left+=("$path"); fi
    done
    if [ ${#left[@]} = 0 ]; then echo "uninstall.sh: nothing is left"; else echo "uninstall.sh: left as it is: ${left[*]}"; fi
}

main() {
    parse "$@"
    [ "$(id -u)" = 0 ] || { echo "uninstall.sh: only root can remove a service; run: sudo $0" >&2; exit 1; }
    [ -d /run/systemd/system ] || { echo "uninstall.sh: systemd does not run here" >&2; exit 1; }
    remove_service
    remove_program
    remove_data
    remove_user
    say_what_is_left
}

main "$@"
