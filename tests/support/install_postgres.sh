# Installs Debian's PostgreSQL, if none is here and that needs nobody's password. Never fails: tests
# that need one are skipped without it.

for program in "$(command -v initdb)" /usr/lib/postgresql/*/bin/initdb; do
    [ -x "$program" ] && exit 0
done

notice() {
    echo "No PostgreSQL: tests that need one are skipped. $1"
    exit 0
}

command -v apt-get >/dev/null 2>&1 || notice "Install postgresql."
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || notice "apt install postgresql."
fi
echo "Installing PostgreSQL for the tests ..."
$as_root apt-get update -qq >/dev/null 2>&1
# RUNLEVEL=1: the package's own service is not started.
$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends postgresql >/dev/null 2>&1 ||
    notice "It could not be installed."
