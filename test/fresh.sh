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

finish() {
    for m in proc dev; do $sudo umount "$root/$m" 2>/dev/null || true; done
    $sudo rm -rf "$work"
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
$sudo mount --bind /dev "$root/dev"
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
    [ "$(readlink "/proc/$p/root")" = "$root" ] && [ "$(readlink "/proc/$p/exe" | sed 's|.*/||')" = souk ] && echo "$p"; done)
$sudo kill -TERM $server
wait "$runner" || true

echo "make test"
$sudo chroot "$root" sh -c 'cd /souk && make test' 2>&1 | tee "$work/test.log" | tail -60
tail -1 "$work/test.log" | grep -q ' 0 failed$'
