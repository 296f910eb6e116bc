# Installs Debian's Chromium, if none is here and that needs nobody's password. Never fails: tests
# that need a Chromium are skipped without one.

for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
[ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] && exit 0

notice() {
    echo "No Chromium: tests in a browser are skipped. $1"
    exit 0
}

# Ubuntu's package of this name is a snap, which Playwright cannot start.
grep -qs '^ID=debian' /etc/os-release || notice "Install one, or name it in CHROMIUM."
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || notice "apt install chromium, or name one in CHROMIUM."
fi
echo "Installing Chromium for the tests ..."
$as_root apt-get update -qq >/dev/null 2>&1
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null 2>&1 ||
    notice "It could not be installed."
