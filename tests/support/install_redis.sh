# Installs Debian's Redis, if none is here and that needs nobody's password. Never fails: tests that
# need a Redis are skipped without one.

for name in redis-server valkey-server; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done

notice() {
    echo "No Redis: tests that need one are skipped. $1"
    exit 0
}

command -v apt-get >/dev/null 2>&1 || notice "Install redis-server."
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || notice "apt install redis-server."
fi
echo "Installing Redis for the tests ..."
$as_root apt-get update -qq >/dev/null 2>&1
# RUNLEVEL=1: the package's own service is not started.
$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends redis-server >/dev/null 2>&1 ||
    notice "It could not be installed."
