#!/bin/bash
# Trains on Cloud TPU VMs: a slice, or several slices together, as a queued resource.
#
#   tpu.sh create NAME TYPE RUNTIME [FLAGS]   as in: create pod v6e-16 v2-alpha-tpuv6e --spot
#   tpu.sh wait NAME                          until the slices are there
#   tpu.sh copy NAME                          this checkout's commit, to all workers; installs it
#   tpu.sh all NAME COMMAND                   a shell command on all workers
#   tpu.sh run NAME train --config=FILE …     jaxcnn on all workers, until it ends
#   tpu.sh stop NAME                          jaxcnn saves and ends
#   tpu.sh fetch NAME DIR TO                  a directory from the first worker
#   tpu.sh delete NAME [FLAGS]                the slices too
#
# Each is one gcloud command, or two, and ends with its exit code. Project and zone are those of
# `gcloud config`.

set -euo pipefail

PORT=8482         # of the coordinator: jax's default, fixed here so that a firewall rule can name it
POLL=${POLL:-30}  # seconds between looks at a queued resource
checkout=$(dirname "$0")/../..

usage() {
    sed -n '/^#   tpu/,/^#$/s/^# *//p' "$0" >&2
    exit 2
}

queued() {
    gcloud compute tpus queued-resources "$@"
}

everywhere() {
    queued ssh "$name" --node=all --worker=all --command="$1"
}

create() {
    [ $# -ge 2 ] || usage
    local shape=(--accelerator-type="$1" --runtime-version="$2") nodes=(--node-id="$name") flag
    shift 2
    for flag in "$@"; do
        case $flag in --node-count*) nodes=() ;; esac  # gcloud then calls them NAME-0, NAME-1, …
    done
    queued create "$name" "${shape[@]}" "${nodes[@]}" "$@"
}

wait_for() {
    local state
    while true; do
        state=$(queued describe "$name" --format='value(state.state)')
        echo "$name: $state"
        case $state in
        ACTIVE) return 0 ;;
        FAILED | SUSPENDING | SUSPENDED) return 1 ;;
        esac
        sleep "$POLL"
    done
}

copy() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    git -C "$checkout" diff --quiet HEAD || echo "tpu.sh: changes that are not committed stay here" >&2
    git -C "$checkout" bundle create --quiet "$folder/jaxcnn.bundle" HEAD
    queued scp "$folder/jaxcnn.bundle" "$name:" --node=all --worker=all
    # The images have an older Python than jaxcnn needs; uv brings one.
    everywhere "git init --quiet jaxcnn && cd jaxcnn &&
        git fetch --quiet ../jaxcnn.bundle HEAD && git reset --quiet --hard FETCH_HEAD &&
        python3 -m pip install --quiet --user uv &&
        python3 -m uv venv --quiet --allow-existing --python=3.11 &&
        python3 -m uv pip install --quiet -c constraints.txt -e '.[tpu]'"
}

run() {
    # When a connection breaks, gcloud sends the command again. The lock, which jaxcnn holds, ends the
    # second one with code 73 where the first one still runs.
    everywhere "cd jaxcnn && JAX_COORDINATOR_PORT=$PORT exec flock --no-fork --nonblock \
--conflict-exit-code=73 ../jaxcnn.lock .venv/bin/jaxcnn$(printf ' %q' "$@")"
}

[ $# -ge 2 ] || usage
command=$1 name=$2
shift 2
case $command in
create) create "$@" ;;
wait) wait_for ;;
copy) copy ;;
all) everywhere "$1" ;;
run) run "$@" ;;
stop) everywhere "pkill -TERM -f '[j]axcnn train'" ;;
fetch) queued scp --recurse "$name:$1" "$2" ;;
delete) queued delete "$name" --force "$@" ;;
*) usage ;;
esac
