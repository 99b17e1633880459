#!/usr/bin/env bash
# Make .venv and install the project into it: `setup.sh core` (what the command line needs) or
# `setup.sh all` (with the napari plugin, the tests and the linters).
#
# A stamp holds the hash of what was asked for, so a second run ends at once and an edited
# pyproject.toml or constraints.txt installs again. A run cut short leaves no stamp.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted="${1:-all}"
venv=".venv"
stamp="$venv/.installed"

case "$wanted" in
  core) target="." ;;
  all) target=".[all]" ;;
  *) echo "setup: say 'core' or 'all', not '$wanted'" >&2; exit 2 ;;
esac

digest="$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -d' ' -f1)"

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
    # A version manager's shim may exist for a version that is not installed: run it and see.
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "setup: no Python 3.11 or newer found; install one, or say which: make PYTHON=/path" >&2
  return 1
}

make_venv() {
  local python version
  python="$(find_python)"
  version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then  # Debian ships it apart
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv"
    else
      echo "setup: $python cannot make environments; run: sudo apt-get install python$version-venv" >&2
      return 1
    fi
  fi
  echo "setup: making $venv with Python $version"
  "$python" -m venv --clear "$venv"
}

if [ "$wanted" = all ]; then
  scripts/system_libraries.sh
fi

if [ -x "$venv/bin/python" ] && [ -f "$stamp" ]; then
  read -r have have_digest <"$stamp"
  if [ "$have_digest" = "$digest" ] && { [ "$have" = all ] || [ "$have" = "$wanted" ]; }; then
    exit 0
  fi
  if [ "$have" = all ]; then  # an older `all` is renewed as such, whichever part asks
    wanted=all target=".[all]"
  fi
fi

"$venv/bin/python" -c '' 2>/dev/null || make_venv
rm -f "$stamp"
echo "setup: installing $target into $venv (torch is large; minutes on the first run)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  --constraint constraints.txt --editable "$target"
echo "$wanted $digest" >"$stamp"
