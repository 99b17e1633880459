#!/usr/bin/env bash
# What a napari window on a virtual display needs of a Debian or Ubuntu system. Installs what is
# missing when run as root; otherwise says the one command to run. Elsewhere it does nothing.
set -euo pipefail

packages=(
  xvfb libgl1 libgl1-mesa-dri libegl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libgssapi-krb5-2
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
  libxcb-render-util0 libxcb-shape0 libxcb-xkb1
)

command -v dpkg >/dev/null && command -v apt-get >/dev/null || exit 0

installed() {  # newer releases rename some of them: libglib2.0-0t64
  dpkg -s "$1" 2>/dev/null | grep -q '^Status: install ok installed' ||
    dpkg -s "$1t64" 2>/dev/null | grep -q '^Status: install ok installed'
}

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

command="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
  echo "setup: the tests of the napari window need system libraries; run: sudo $command" >&2
  exit 0
fi
echo "setup: installing system libraries: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Only the tests of the window need them, so an offline machine goes on without.
{ apt-get update -qq && $command -qq >/dev/null; } ||
  echo "setup: could not install them; later, run: $command" >&2
