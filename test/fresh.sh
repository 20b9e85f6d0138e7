#!/bin/sh
# Tries the README's two commands as a newcomer would: a fresh Debian 12 root with nothing but git and
# make, a clean clone, `make run` until the shop answers and sells, then `make test`.
# Needs root (or sudo) for the chroot.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d /var/tmp/souk-fresh.XXXXXX)
root=$work/root
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
port=8080

# What runs in the root ends before its mounts, and the mounts before the folder: a folder removed with a
# mount in it would take the mounted things along.
finish() {
    for p in $(rooted); do $sudo kill -TERM "$p" 2>/dev/null || true; done
    sleep 2
    $sudo umount "$root/proc" 2>/dev/null || true
    if grep -q " $root/" /proc/mounts; then
        echo "something is still mounted under $root: the folder stays" >&2
    else
        $sudo rm -rf --one-file-system "$work"
    fi
}

# The processes whose root is ours.
rooted() {
    for p in /proc/[0-9]*; do
        [ "$($sudo readlink "$p/root" 2>/dev/null)" = "$root" ] && echo "${p#/proc/}"
    done
    true
}
trap finish EXIT

echo "a fresh Debian 12 root in $root"
# The package sources of this machine serve the new root too.
set --
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian*.list /etc/apt/sources.list.d/debian*.sources; do
    [ -s "$file" ] && set -- "$@" "$file"
done
$sudo mmdebstrap --quiet --variant=apt --include=git,make,ca-certificates bookworm "$root" "$@"
$sudo mount -t proc proc "$root/proc"
# A few devices of its own: nothing of this machine's /dev is in there.
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    # shellcheck disable=SC2086  # name, major, minor
    set -- $device
    [ -e "$root/dev/$1" ] || $sudo mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
[ -e "$root/dev/fd" ] || $sudo ln -s /proc/self/fd "$root/dev/fd"
$sudo mkdir -p "$root/dev/shm"
$sudo chmod 1777 "$root/dev/shm" # PostgreSQL does not run as root
$sudo cp /etc/hosts /etc/resolv.conf "$root/etc/" 2>/dev/null || true

git clone --quiet "$here" "$root/souk"
[ -d "$here/../shared/data" ] && $sudo mkdir -p "$root/shared" && $sudo cp -r "$here/../shared/data" "$root/shared/"

echo "make run"
$sudo chroot "$root" sh -c 'cd /souk && exec make run' >"$work/run.log" 2>&1 &
runner=$!
began=$(date +%s)
until goods=$(curl -fs "http://127.0.0.1:$port/v1/products?limit=100"); do
    kill -0 "$runner" 2>/dev/null || { cat "$work/run.log"; echo "make run ended"; exit 1; }
    [ $(($(date +%s) - began)) -lt 900 ] || { tail -50 "$work/run.log"; echo "no shop after 15 minutes"; exit 1; }
    sleep 1
done
echo "a shop after $(($(date +%s) - began)) s: $(printf %s "$goods" | grep -o '"handle"' | wc -l) demo products"
server=$(pgrep -f 'build/souk run' | while read -r p; do
    [ "$(readlink "/proc/$p/root")" = "$root" ] && [ "$(readlink "/proc/$p/exe" | sed 's|.*/||')" = souk ] && echo "$p"
    true; done)
$sudo kill -TERM $server
wait "$runner" || true

echo "make test"
$sudo chroot "$root" sh -c 'cd /souk && make test' 2>&1 | tee "$work/test.log" | { grep -v '^ok ' || true; }
tail -1 "$work/test.log" | grep -q ' 0 failed$'
